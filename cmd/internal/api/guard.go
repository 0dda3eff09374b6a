package api

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/guesses"
)

const metricsPath = "/metrics"

const maxToken = 1024 // bytes, as much as an administrator may choose

// A guard lets requests with the right token pass, however many wrong ones came
// before it, and bounds how often a wrong one is answered and logged as such.
type guard struct {
	authenticate func(token string) bool
	metrics      func(token string) bool // of one that opens /metrics alone; nil: there is none
	guesses      *guesses.Limiter
}

// admit returns nil for a request with the right token. A request without any
// is no guess.
func (g *guard) admit(r *http.Request, addr netip.Addr) error {
	fields := r.Header.Values("Authorization")
	if len(fields) == 0 {
		return unauthenticated("", "The request has no token. Send the administrator's as \"Authorization: Bearer TOKEN\".")
	}
	var token string
	if len(fields) == 1 {
		scheme, rest, _ := strings.Cut(fields[0], " ")
		if rest = strings.Trim(rest, " "); strings.EqualFold(scheme, "Bearer") && len(rest) <= maxToken {
			token = rest
		}
	}
	if token == "" {
		return unauthenticated("invalid_request", "The Authorization header cannot be read. Send one, as \"Authorization: Bearer TOKEN\".")
	}

	if g.authenticate(token) || g.metrics != nil && r.URL.Path == metricsPath && g.metrics(token) {
		return nil
	}
	if wait := g.guesses.Wrong(addr); wait > 0 {
		return tooManyGuesses(wait)
	}
	err := unauthenticated("invalid_token", "The token is not the administrator's. It is in the file admin-token of the server's data directory, or was set as IPALLOWD_ADMIN_TOKEN.")
	err.warn = true // at most as often as guesses permits
	return err
}

// unauthenticated is the answer 401 with the challenge that RFC 6750, section
// 3 describes.
func unauthenticated(reason, message string) *apiError {
	challenge := `Bearer realm="ipallow"`
	if reason != "" {
		challenge += fmt.Sprintf(", error=%q", reason)
	}
	return &apiError{
		status: http.StatusUnauthorized, Code: "UNAUTHENTICATED", Message: message,
		header: http.Header{"Www-Authenticate": {challenge}},
	}
}

func tooManyGuesses(wait time.Duration) *apiError {
	seconds := strconv.Itoa(int(math.Ceil(wait.Seconds())))
	return &apiError{
		status: http.StatusTooManyRequests, Code: "TOO_MANY_ATTEMPTS",
		Message: "The token is wrong, as were too many before it. The right one is answered at any time; another wrong one in " + seconds + " s.",
		header:  http.Header{"Retry-After": {seconds}},
	}
}
