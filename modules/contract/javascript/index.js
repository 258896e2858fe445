// What every module of the Curation Operator shares: its documents, calls to a service that speaks JSON, and failures.
// `docs/write-a-module.md` of the operator explains the contract. `curation-guest-build` makes a component of a module.
import { httpCall, log } from "curation:guest/host@0.1.0";

/** A run that fails. Name the class `HTTPUnavailable` only for what may go away by itself: such a run is retried. */
export class Failure extends Error {
  constructor(message, class_ = undefined) {
    super(message);
    this.class = class_;
  }
}

export const info = (message) => log("info", String(message));

/** A service at a base URL. Whatever it answers, an error status too, is a reply; a Failure is that there was none. */
export class Service {
  constructor(base) {
    if (!base || /[\s?#]/.test(base)) {
      throw new Failure(`config.api_url must be a base URL alone, without blanks, ? or #; found ${base}`);
    }
    this.base = base.replace(/\/+$/, "");
  }

  get(path) {
    return this.send("GET", path, null);
  }

  post(path, body) {
    return this.send("POST", path, JSON.stringify(body));
  }

  send(method, path, body) {
    const url = this.base + path;
    const headers = { accept: "application/json", "content-type": "application/json" };
    try {
      const reply = JSON.parse(httpCall(JSON.stringify({ method, url, headers, body })));
      return new Reply(`${method} ${url}`, reply.status, reply.body);
    } catch (thrown) {
      // The host's refusal: {code, message} as text. Without a class the operator judges the run by its code.
      const { code, message } = JSON.parse(thrown.payload ?? thrown);
      throw new Failure(`${method} ${url}: ${code}: ${message}`);
    }
  }
}

class Reply {
  constructor(call, status, body) {
    Object.assign(this, { call, status, body });
  }

  /** The body of a success. Overload and server errors may pass; any other status says that the request is wrong. */
  json() {
    const { call, status, body } = this;
    if (status >= 200 && status < 300) {
      try {
        return JSON.parse(body);
      } catch {
        throw new Failure(`${call} answered ${status} with a body that is no JSON`);
      }
    }
    const passes = status === 408 || status === 429 || status >= 500;
    throw new Failure(`${call} answered ${status}: ${body.slice(0, 300)}`, passes ? "HTTPUnavailable" : undefined);
  }
}

/** A text of the job's spec.input, or of the configuration. */
export function need(from, where, key) {
  if (typeof from?.[key] !== "string" || !from[key]) {
    throw new Failure(`${where}.${key} is missing: set it in spec.${where} of the job`);
  }
  return from[key];
}

/** An id as one segment of a path: a slash in it would reach another path. */
export const segment = (id) => encodeURIComponent(id);

/** A job's status takes objects only; anything else goes under `result`. */
export const object = (value) =>
  value === undefined || value === null || (typeof value === "object" && !Array.isArray(value))
    ? (value ?? undefined)
    : { result: value };

/** The module's `run`: each trigger has a function of its own. */
export function runs(triggers) {
  return (text) => {
    try {
      const context = JSON.parse(text);
      return JSON.stringify(triggers[context.trigger.toLowerCase()](context));
    } catch (error) {
      // An exception would end the run as a trap, and a trap says nothing: this is how its text gets into the log.
      if (!(error instanceof Failure)) log("error", `${error}\n${error.stack ?? ""}`);
      throw JSON.stringify({ message: String(error.message ?? error), class: error.class });
    }
  };
}
