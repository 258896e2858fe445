-- Any new value starts a new run. os is there: Argo CD loads a safe one with date and time.
local os = require("os")
local value = os.date("!%Y-%m-%dT%H:%M:%SZ")
if obj.spec.rerun == value then
  value = value .. "+1"
end
obj.spec.rerun = value
return obj
