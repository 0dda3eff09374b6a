package extauthz

import (
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// A header is the header of the request that Envoy received. Names are in lower
// case.
type header struct {
	joined map[string]string // repeated lines joined with commas, as Envoy sends them
	raw    map[string][]string
}

// newHeader takes the raw header where Envoy sends it (encode_raw_headers), since
// there repeated lines can be told apart.
func newHeader(request *authv3.AttributeContext_HttpRequest) *header {
	fields := request.GetHeaderMap().GetHeaders()
	if len(fields) == 0 {
		return &header{joined: request.GetHeaders()}
	}
	h := &header{raw: make(map[string][]string, len(fields))}
	for _, f := range fields {
		value := f.GetValue()
		if len(f.GetRawValue()) > 0 {
			value = string(f.GetRawValue())
		}
		name := strings.ToLower(f.GetKey())
		h.raw[name] = append(h.raw[name], value)
	}
	return h
}

// Values implements gateway.Header.
func (h *header) Values(name string) []string {
	name = strings.ToLower(name)
	if h.raw != nil {
		return h.raw[name]
	}
	if value, ok := h.joined[name]; ok {
		return []string{value}
	}
	return nil
}

// Any implements gateway.Header.
func (h *header) Any(match func(string) bool) bool {
	for name := range h.raw {
		if match(name) {
			return true
		}
	}
	for name := range h.joined {
		if match(name) {
			return true
		}
	}
	return false
}

// each calls fn for every name.
func (h *header) each(fn func(string)) {
	h.Any(func(name string) bool { fn(name); return false })
}
