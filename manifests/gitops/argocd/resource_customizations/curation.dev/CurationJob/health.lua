-- Healthy: Completed. Degraded: Failed, or its module has to be mended. Suspended: waits for a person. Progressing: anything else.
-- Only the base library is used: scripts of argocd-cm have no others.
local health = {}
local status = obj.status or {}

if obj.metadata.deletionTimestamp ~= nil then
  health.status = "Progressing"
  health.message = "Being deleted: its sessions are cancelled first"
  return health
end

-- What the status says is of an older spec, or was never written: -1 is the default of the CRD.
if status.observedGeneration == nil or status.observedGeneration < (obj.metadata.generation or 0)
    or status.phase == nil then
  health.status = "Progressing"
  health.message = "Waiting for the operator to act on the newest spec"
  return health
end

health.message = status.phase
if status.reason ~= nil and status.reason ~= "" and status.reason ~= status.phase then
  health.message = health.message .. " (" .. status.reason .. ")"
end
if status.message ~= nil and status.message ~= "" then
  health.message = health.message .. ": " .. status.message
end

if status.phase == "Completed" then
  health.status = "Healthy"
elseif status.phase == "Failed" then
  health.status = "Degraded"
elseif obj.spec.suspend == true or status.phase == "AwaitingApproval" then
  health.status = "Suspended"
elseif status.reason == "ModuleUnusable" or status.reason == "ExecutorUnavailable" then
  health.status = "Degraded"
else
  health.status = "Progressing"
end
return health
