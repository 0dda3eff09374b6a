package realproxy

import "strings"

// An attempt is what a client sends in order to appear under another address.
//
// In the texts CLAIM is the address that it claims, PROXY that of a trusted proxy
// and PATH the path by which the server knows the attempt.
type attempt struct {
	reason string
	lines  string // header lines, sent as they stand; each ends with CRLF
	raw    string // the whole request, in place of the usual one with lines

	// unfound allows that no address is found, because the attempt is beyond a
	// bound; it still must not be another one.
	unfound bool
}

// text returns the request.
func (a attempt) text(path, claim, proxy string) string {
	text := a.raw
	if text == "" {
		text = "GET PATH HTTP/1.1\r\nHost: api.example\r\n" + a.lines + "Connection: close\r\n\r\n"
	}
	return strings.NewReplacer("CLAIM", claim, "PROXY", proxy, "PATH", path).Replace(text)
}

const smuggled = "GET PATH/smuggled HTTP/1.1\r\nHost: api.example\r\nX-Forwarded-For: CLAIM\r\nForwarded: for=CLAIM\r\nX-Real-IP: CLAIM\r\n\r\n"

var attempts = []attempt{
	{reason: "nothing is claimed"},

	// X-Forwarded-For.
	{reason: "the plain lie", lines: "X-Forwarded-For: CLAIM\r\n"},
	{reason: "header names have no case", lines: "x-forwarded-FOR: CLAIM\r\n"},
	{reason: "a chain that ends in a trusted proxy, to have the walk go on", lines: "X-Forwarded-For: CLAIM, PROXY\r\n"},
	{reason: "a chain of trusted proxies around the lie", lines: "X-Forwarded-For: PROXY, CLAIM, PROXY, PROXY\r\n"},
	{reason: "field lines of which one could be taken for the proxy's", lines: "X-Forwarded-For: CLAIM\r\nX-Forwarded-For: CLAIM\r\nX-Forwarded-For: PROXY\r\n"},
	{reason: "a comma at the end, to have an empty element taken for nothing", lines: "X-Forwarded-For: CLAIM,\r\n"},
	{reason: "only commas", lines: "X-Forwarded-For: ,,,\r\n"},
	{reason: "an empty value", lines: "X-Forwarded-For:\r\n"},
	{reason: "an address with a port", lines: "X-Forwarded-For: CLAIM:443\r\n"},
	{reason: "an IPv4-mapped address", lines: "X-Forwarded-For: ::ffff:CLAIM\r\n"},
	{reason: "brackets, port and zone", lines: "X-Forwarded-For: [::ffff:CLAIM%25lo]:443\r\n"},
	{reason: "a quoted string that hides the comma", lines: "X-Forwarded-For: \"CLAIM, \r\n"},
	{reason: "a comment opened and not closed", lines: "X-Forwarded-For: CLAIM (\r\n"},
	{reason: "text that is no address", lines: "X-Forwarded-For: unknown, CLAIM, ?\r\n"},
	{reason: "semicolons for commas", lines: "X-Forwarded-For: CLAIM;\r\n"},
	{reason: "a tab before the value", lines: "X-Forwarded-For:\tCLAIM\r\n"},
	{reason: "a space before the colon, which some servers strip", lines: "X-Forwarded-For : CLAIM\r\n"},
	{reason: "a folded line (RFC 9112, section 5.2)", lines: "X-Forwarded-For: 192.0.2.1,\r\n CLAIM\r\n"},
	{reason: "a bare LF that could begin a field line", lines: "X-A: b\nX-Forwarded-For: CLAIM\r\n"},
	{reason: "a bare CR that could begin a field line", lines: "X-A: b\rX-Forwarded-For: CLAIM\r\n"},
	{reason: "bytes above ASCII in front", lines: "X-Forwarded-For: \xff\xfe, CLAIM\r\n"},
	{reason: "a no-break space around the address", lines: "X-Forwarded-For: \xc2\xa0CLAIM\xc2\xa0\r\n"},
	{reason: "29 elements, near the bound", lines: "X-Forwarded-For: " + strings.Repeat("CLAIM, ", 28) + "CLAIM\r\n"},
	{reason: "100 elements, beyond the bound", lines: "X-Forwarded-For: " + strings.Repeat("CLAIM, ", 99) + "CLAIM\r\n", unfound: true},
	{reason: "9,000 bytes, beyond the bound", lines: "X-Forwarded-For: CLAIM, " + strings.Repeat("a", 9000) + "\r\n", unfound: true},

	// Forwarded.
	{reason: "Forwarded with a plain address", lines: "Forwarded: for=CLAIM\r\n"},
	{reason: "Forwarded with all parameters", lines: "Forwarded: for=CLAIM;by=PROXY;host=api.example;proto=https\r\n"},
	{reason: "Forwarded with a trusted proxy behind the lie", lines: "Forwarded: for=CLAIM, for=PROXY\r\n"},
	{reason: "Forwarded in two field lines", lines: "Forwarded: for=CLAIM\r\nForwarded: for=PROXY\r\n"},
	{reason: "Forwarded with a port in quotes", lines: "Forwarded: For=\"CLAIM:4711\"\r\n"},
	{reason: "a quotation mark left open, to swallow what the proxy appends", lines: "Forwarded: for=CLAIM;x=\"\r\n"},
	{reason: "an open quotation mark and a backslash", lines: "Forwarded: for=CLAIM;x=\"\\\r\n"},
	{reason: "a parameter left open, to join with what the proxy appends", lines: "Forwarded: for=CLAIM;\r\n"},
	{reason: "a for without a value", lines: "Forwarded: for=CLAIM, for=\r\n"},
	{reason: "an obfuscated identifier", lines: "Forwarded: for=_hidden, for=CLAIM\r\n"},
	{reason: "both headers, to have one believed where the other is chosen", lines: "Forwarded: for=CLAIM\r\nX-Forwarded-For: CLAIM\r\nX-Real-IP: CLAIM\r\n"},

	// Single-value and other headers.
	{reason: "X-Real-IP", lines: "X-Real-IP: CLAIM\r\n"},
	{reason: "X-Real-IP twice", lines: "X-Real-IP: CLAIM\r\nX-Real-IP: CLAIM\r\n"},
	{reason: "headers of CDNs", lines: "CF-Connecting-IP: CLAIM\r\nTrue-Client-IP: CLAIM\r\nFastly-Client-IP: CLAIM\r\nX-Azure-ClientIP: CLAIM\r\nX-Appengine-User-Ip: CLAIM\r\n"},
	{reason: "headers that other software reads", lines: "X-Client-IP: CLAIM\r\nClient-IP: CLAIM\r\nX-Originating-IP: CLAIM\r\nX-Remote-Addr: CLAIM\r\nX-Cluster-Client-IP: CLAIM\r\nX-Forwarded: CLAIM\r\nForwarded-For: CLAIM\r\nVia: 1.1 CLAIM\r\n"},
	{reason: "look-alikes with underscores", lines: "X_Forwarded_For: CLAIM\r\nX_Real_IP: CLAIM\r\nX-Forwarded_For: CLAIM\r\n"},
	{reason: "names that CGI would give the variables", lines: "HTTP_X_FORWARDED_FOR: CLAIM\r\nREMOTE_ADDR: CLAIM\r\nRemote-Addr: CLAIM\r\n"},
	{reason: "a host that is the claimed address", raw: "GET PATH HTTP/1.1\r\nHost: CLAIM\r\nX-Forwarded-Host: CLAIM\r\nConnection: close\r\n\r\n"},

	// The connection.
	{reason: "Connection names the headers, to have the proxy drop its own", lines: "Connection: X-Forwarded-For, Forwarded, X-Real-IP\r\nX-Forwarded-For: CLAIM\r\nForwarded: for=CLAIM\r\nX-Real-IP: CLAIM\r\n"},
	{reason: "Connection names them and nothing is claimed", lines: "Connection: close, X-Forwarded-For, Forwarded, X-Real-IP\r\n"},
	{reason: "trailers", raw: "POST PATH HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\nTrailer: X-Forwarded-For, X-Real-IP\r\nConnection: close\r\n\r\n1\r\na\r\n0\r\nX-Forwarded-For: CLAIM\r\nForwarded: for=CLAIM\r\nX-Real-IP: CLAIM\r\n\r\n"},
	{reason: "HTTP/1.0", raw: "GET PATH HTTP/1.0\r\nX-Forwarded-For: CLAIM\r\nForwarded: for=CLAIM\r\n\r\n"},
	{reason: "a target in absolute form with user information", raw: "GET http://CLAIM@api.examplePATH HTTP/1.1\r\nHost: api.example\r\nX-Forwarded-For: CLAIM\r\nConnection: close\r\n\r\n"},
	{reason: "a second request on the connection", raw: "GET PATH HTTP/1.1\r\nHost: api.example\r\n\r\nGET PATH/second HTTP/1.1\r\nHost: api.example\r\nX-Forwarded-For: CLAIM\r\nForwarded: for=CLAIM\r\nX-Real-IP: CLAIM\r\nConnection: close\r\n\r\n"},
	{reason: "a request in a body, by Content-Length", raw: "POST PATH HTTP/1.1\r\nHost: api.example\r\nContent-Length: LENGTH\r\nConnection: close\r\n\r\n" + smuggled},
	{reason: "a request smuggled by two lengths", raw: "POST PATH HTTP/1.1\r\nHost: api.example\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n" + smuggled},
	{reason: "a request smuggled by a masked Transfer-Encoding", raw: "POST PATH HTTP/1.1\r\nHost: api.example\r\nContent-Length: 5\r\nTransfer-Encoding: xchunked\r\nConnection: close\r\n\r\n0\r\n\r\n" + smuggled},
	{reason: "an upgrade to HTTP/2 in clear text", lines: "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nX-Forwarded-For: CLAIM\r\n"},
	{reason: "a PROXY header of version 1 in front", raw: "PROXY TCP4 CLAIM 127.0.0.1 41000 80\r\nGET PATH HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n"},
	{reason: "a PROXY header of version 2 in front", raw: "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x02\x7f\x00\x00\x01\xa0\x28\x00\x50GET PATH HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n"},
}
