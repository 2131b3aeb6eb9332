-- Gives each request the draws of the decisions of its route, as request headers, and has the route
-- chosen again by them. Sequence.Next of the Go data plane does the same sums in the same order.
local NAME = "mesh-lab.exact"
local routes = {} -- by id; each worker thread has its own

local function sequence(id, before)
  local key = id
  if before ~= "" then key = id .. "/" .. before end
  return {key = key, lead = {}, used = {}, after = {}}
end

local function draw(seq, d)
  local best, least
  for i, w in ipairs(d.shares) do
    if w > 0 then
      local lead = (seq.lead[i] or 0) + w
      seq.lead[i] = lead
      if lead * d.slots >= d.total then
        local due = (d.slack - lead) / w
        if best == nil or due < least then best, least = i, due end
      end
    end
  end
  seq.lead[best] = seq.lead[best] - d.total
  local n = seq.used[best] or 0
  seq.used[best] = (n + 1) % d.shares[best]
  for i = 1, best - 1 do n = n + d.shares[i] end
  return n
end

local function outcome(d, n)
  if d.kind == "split" then n = n % d.total end
  for i, w in ipairs(d.shares) do
    if n < w then return i end
    n = n - w
  end
  return #d.shares
end

local function learn(id, list)
  local route = {decisions = {}, first = sequence(id, "")}
  for i, d in ipairs(list) do
    local total, possible = 0, 0
    for _, w in ipairs(d.shares) do
      total = total + w
      if w > 0 then possible = possible + 1 end
    end
    local slots = 2 * possible - 2
    route.decisions[i] = {kind = d.kind, header = d.header, shares = d.shares, total = total,
      slots = slots, slack = total - total / slots}
  end
  return route
end

function envoy_on_request(handle)
  local own = handle:metadata()
  local id = own:get("id")
  if id == nil then return end
  local route = routes[id]
  if route == nil then
    route = learn(id, own:get("decisions"))
    routes[id] = route
  end
  local headers, keys = handle:headers(), {}
  local seq, before, asked = route.first, "", false
  for i, d in ipairs(route.decisions) do
    local n
    local v = headers:get(d.header)
    if v ~= nil and #v <= 15 and v:find("^%d+$") then
      n, asked = tonumber(v), true
      headers:replace(d.header, v) -- once, if it came more often
    else
      n = draw(seq, d)
      headers:replace(d.header, string.format("%.0f", n))
    end
    keys[d.kind] = seq.key
    local o = outcome(d, n)
    if before ~= "" then before = before .. "." end
    before = before .. (o - 1)
    if seq.after[o] == nil then seq.after[o] = sequence(id, before) end
    seq = seq.after[o]
  end
  if not asked then
    local said = handle:streamInfo():dynamicMetadata()
    for kind, key in pairs(keys) do said:set(NAME, kind, key) end
  end
  handle:clearRouteCache()
end
