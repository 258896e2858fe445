-- Healthy: in force. Degraded: the newest revision is invalid and has no effect; the message says what counts instead.
-- Progressing: not judged yet.
local health = {}
local status = obj.status or {}

if obj.metadata.deletionTimestamp ~= nil then
  health.status = "Progressing"
  health.message = "Being deleted: it counts for Cancel only while a session may be alive, for at most 10 minutes"
  return health
end

if status.observedGeneration ~= nil and status.observedGeneration >= (obj.metadata.generation or 0) then
  for _, condition in ipairs(status.conditions or {}) do
    if condition.type == "Ready" then
      health.message = (condition.reason or "") .. ": " .. (condition.message or "")
      if condition.status == "True" then
        health.status = "Healthy"
      elseif condition.status == "False" then
        health.status = "Degraded"
      else
        health.status = "Progressing"
      end
      return health
    end
  end
end

health.status = "Progressing"
health.message = "Waiting for the operator to check the policies"
return health
