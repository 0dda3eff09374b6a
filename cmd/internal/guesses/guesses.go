// Package guesses bounds how often wrong tokens are answered and logged as such.
//
//	if !authenticate(token) {
//		if wait := limiter.Wrong(client); wait > 0 {
//			return tooMany(wait)
//		}
//		return wrong
//	}
//
// The token is compared first, and a right one is neither counted nor refused: whoever
// sends wrong ones from the administrator's address, or through the same proxy, keeps
// nobody out. So the bounds do not keep a token from being guessed, which is what its
// length is for; they keep the log, and they tell a client with an old token to stop.
package guesses

import (
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/ipallow/ipallow/cmd/internal/canon"
	"golang.org/x/time/rate"
)

// A client may send Burst wrong tokens at once, and then one every Every. All
// clients together may send AllBurst, and then one every AllEvery, so that one
// that can choose its address gains nothing by it.
const (
	Burst    = 10
	Every    = 6 * time.Second
	AllBurst = 60
	AllEvery = 500 * time.Millisecond

	maxClients = 10_000 // about 200 bytes each; the one not heard of for longest goes first
)

// A Limiter counts wrong tokens. Its methods may be called from any number of
// goroutines.
type Limiter struct {
	now func() time.Time

	mu      sync.Mutex
	clients *simplelru.LRU[netip.Prefix, *rate.Limiter]
	all     *rate.Limiter
}

// New returns a Limiter that asks now for the time; nil is time.Now.
func New(now func() time.Time) *Limiter {
	if now == nil {
		now = time.Now
	}
	clients, err := simplelru.NewLRU[netip.Prefix, *rate.Limiter](maxClients, nil)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &Limiter{now: now, clients: clients, all: rate.NewLimiter(rate.Every(AllEvery), AllBurst)}
}

// Wrong counts a wrong token. It returns 0, or how long it takes until another wrong
// one of the client's is within the bounds. One beyond them is not counted.
func (l *Limiter) Wrong(client netip.Addr) (wait time.Duration) {
	who := caller(client)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	limiter, known := l.clients.Get(who)
	if known {
		wait = delay(limiter, now)
	}
	if wait = max(wait, delay(l.all, now)); wait > 0 {
		return wait
	}
	if !known {
		limiter = rate.NewLimiter(rate.Every(Every), Burst)
		l.clients.Add(who, limiter)
	}
	limiter.AllowN(now, 1)
	l.all.AllowN(now, 1)
	return 0
}

// delay returns how long it takes until l has a whole token; 0: it has one.
func delay(l *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - l.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return max(time.Duration(missing/float64(l.Limit())*float64(time.Second)), 1)
}

// caller returns what is counted by: the IPv4 address, the IPv6 /64 that a single
// host commonly has, or the zero Prefix for all clients without an address.
func caller(addr netip.Addr) netip.Prefix {
	addr = canon.Addr(addr)
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
