package api

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// Limits of wrong tokens. An address may send guessBurst of them at once, and
// then one every guessEvery.
const (
	guessBurst = 10
	guessEvery = 6 * time.Second
	// guessers bounds the table of addresses, which takes about 200 bytes each.
	guessers = 10_000
	maxToken = 1024 // bytes, as much as an administrator may choose
)

// A guard lets requests with the right token pass. It counts the wrong ones by
// address, and answers none of an address that has sent too many.
type guard struct {
	authenticate func(token string) bool
	now          func() time.Time

	// mu is held from the look at the count until the token has been checked,
	// so that many guesses at the same moment count too.
	mu      sync.Mutex
	guesses *simplelru.LRU[netip.Prefix, *rate.Limiter]
}

func newGuard(authenticate func(token string) bool) *guard {
	guesses, err := simplelru.NewLRU[netip.Prefix, *rate.Limiter](guessers, nil)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &guard{authenticate: authenticate, now: time.Now, guesses: guesses}
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

	who := guesser(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	limiter, known := g.guesses.Get(who)
	if known {
		if tokens := limiter.TokensAt(now); tokens < 1 {
			return tooManyGuesses(time.Duration((1 - tokens) * float64(guessEvery)))
		}
	}
	if g.authenticate(token) {
		return nil
	}
	if !known {
		limiter = rate.NewLimiter(rate.Every(guessEvery), guessBurst)
		g.guesses.Add(who, limiter)
	}
	limiter.AllowN(now, 1)
	err := unauthenticated("invalid_token", "The token is not the administrator's. It is in the file admin-token of the server's data directory, or was set as IPALLOWD_ADMIN_TOKEN.")
	err.warn = true // at most as often as the address may guess
	return err
}

// guesser returns what wrong tokens are counted by: the IPv4 address, the IPv6
// /64 that a single host commonly has, or the zero Prefix for all callers
// without an address together.
func guesser(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
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
		Message: "Too many wrong tokens came from this address. Try again in " + seconds + " s.",
		header:  http.Header{"Retry-After": {seconds}},
	}
}
