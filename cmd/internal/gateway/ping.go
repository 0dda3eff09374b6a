package gateway

import (
	"net/http"
	"strconv"
)

// pingPath is what a gateway without an upstream answers.
const pingPath = "/v1/ping"

// Shared by all answers; net/http does not write to them.
var (
	jsonType = []string{contentType}
	noStore  = []string{cacheControl}
)

// ping answers with what the gateway found: {"key_id":…,"address":…,"verdict":…}.
// The address is null where there is none.
func (g *Gateway) ping(x *exchange, r *http.Request) {
	switch {
	case r.URL.Path != pingPath:
		notFound.write(x)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		readOnlyPath.write(x)
		return
	}
	// None of the three needs escaping.
	b := append(x.buf[:0], `{"key_id":"`...)
	b = append(b, x.record.KeyID...)
	b = append(b, `","address":`...)
	if addr := x.record.ClientAddr; addr.IsValid() {
		b = append(b, '"')
		b = addr.AppendTo(b)
		b = append(b, '"')
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"verdict":"`...)
	b = append(b, x.record.Verdict.String()...)
	b = append(b, `"}`...)
	h := x.Header()
	h["Content-Type"] = jsonType
	h["Cache-Control"] = noStore
	if x.body != nil {
		h["Content-Length"] = []string{strconv.Itoa(len(b))}
	}
	_, _ = x.Write(b)
}
