local actions = {}
local deleted = obj.metadata.deletionTimestamp ~= nil
local suspended = obj.spec.suspend == true

actions["rerun"] = {["displayName"] = "Rerun", ["iconClass"] = "fa fa-fw fa-redo", ["disabled"] = deleted}
actions["suspend"] = {["displayName"] = "Suspend", ["iconClass"] = "fa fa-fw fa-pause", ["disabled"] = deleted or suspended}
actions["resume"] = {["displayName"] = "Resume", ["iconClass"] = "fa fa-fw fa-play", ["disabled"] = deleted or not suspended}
return actions
