package gateway

import (
	"net/http"

	"github.com/ipallow/ipallow/cmd/internal/claims"
)

// strip removes what the upstream would take for the gateway's word, and the session
// of the settings page, which browsers send to all ports of a host.
func strip(h http.Header) {
	for name := range h {
		if claims.Header(name) {
			delete(h, name)
		}
	}
	kept := h["Cookie"][:0]
	for _, line := range h["Cookie"] {
		if line = claims.Cookies(line); line != "" {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}
