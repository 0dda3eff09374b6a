-- Asks ipallowd whether a request may pass. See haproxy.cfg.

local url = "http://127.0.0.1:8080/_ipallow/authz"
local timeout = 5000 -- milliseconds

-- Headers of the client's that ipallowd reads, and how many lines of each it is sent: two are as
-- ambiguous as twenty. All others stay here, since a question of more than tune.http.maxhdr lines
-- crashes HAProxy 2.6.
local read = {
	"authorization", "x-api-key", "x-http-method", "x-http-method-override", "x-method-override",
}
local most = 2

-- refuse answers the client and ends the transaction.
local function refuse(txn, status, answered, body)
	local reply = txn:reply({ status = status })
	reply:add_header("content-type", "application/json; charset=utf-8")
	reply:add_header("cache-control", "no-store")
	for _, name in ipairs({ "www-authenticate", "allow", "retry-after", "x-request-id" }) do
		if answered[name] then
			reply:add_header(name, answered[name][0])
		end
	end
	reply:set_body(body)
	txn:done(reply)
end

local answers = { [204] = true, [401] = true, [403] = true, [405] = true, [503] = true }

local function ask(txn)
	local headers, sent = {}, txn.http:req_get_headers()
	for _, name in ipairs(read) do
		local lines = {}
		for i = 0, sent[name] and math.min(#sent[name], most - 1) or -1 do
			lines[i + 1] = sent[name][i]
		end
		headers[name] = lines
	end
	headers["x-forwarded-for"] = { txn.f:src() }
	headers["x-forwarded-method"] = { txn.f:method() }
	headers["x-forwarded-uri"] = { txn.f:pathq() }

	local answer = core.httpclient():get({ url = url, headers = headers, timeout = timeout })
	local answered = answer and answer.headers or {}
	-- X-Ipallow-Body tells a 503 of ipallowd, which is not ready, from one that HAProxy made.
	local ready = answer and (answer.status ~= 503 or answered["x-ipallow-body"])
	if not ready or not answers[answer.status] then
		refuse(txn, 503, {}, '{"error":{"code":"UNAVAILABLE","message":"The request could not be checked"}}')
		return
	end
	if answer.status ~= 204 then
		refuse(txn, answer.status, answered, answer.body)
		return
	end

	-- The key stays here, and so does what the client claims to be.
	for name in pairs(txn.http:req_get_headers()) do
		if name == "authorization" or name == "x-api-key" or name:sub(1, 9) == "x-ipallow" then
			txn.http:req_del_header(name)
		end
	end
	for _, name in ipairs({ "x-ipallow-key-id", "x-ipallow-client", "x-request-id" }) do
		if answered[name] then
			txn.http:req_set_header(name, answered[name][0])
		end
	end
	txn:set_var("txn.ipallow_request", answered["x-request-id"][0])
	txn:set_var("txn.ipallow_passed", true) -- the last word: haproxy.cfg refuses without it
end

core.register_action("ipallow", { "http-req" }, ask)
