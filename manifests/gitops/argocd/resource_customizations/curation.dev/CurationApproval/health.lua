-- Suspended: waits for a decision. Healthy: decided, whatever the decision is; a job that was denied says so itself.
local health = {}
local spec = obj.spec or {}
local request = spec.request or {}
local decision = spec.decision or "Pending"
local what = (request.method or "") .. " " .. (request.host or "") .. (request.path or "")

if obj.metadata.deletionTimestamp ~= nil then
  health.status = "Progressing"
  health.message = "Being deleted"
  return health
end

if decision == "Pending" then
  health.status = "Suspended"
  health.message = "Waits for a decision: " .. what
  return health
end

local status = obj.status or {}
if status.observedGeneration == nil or status.observedGeneration < (obj.metadata.generation or 0) then
  health.status = "Progressing"
  health.message = "Waiting for the operator to act on the decision: " .. decision
  return health
end

for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Ready" and condition.reason == "Expired" then
    decision = "Expired"
  end
end

health.status = "Healthy"
health.message = decision .. ": " .. what
if spec.decidedBy ~= nil then
  health.message = decision .. ", decided by " .. spec.decidedBy .. ": " .. what
end
return health
