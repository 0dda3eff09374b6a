package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTokens(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		fields []string
		status int
		fault  string // of the challenge
	}{
		{[]string{"Bearer " + adminToken}, 200, ""},
		{[]string{"bearer " + adminToken}, 200, ""},
		{[]string{"BEARER  " + adminToken + " "}, 200, ""},
		{nil, 401, ""},
		{[]string{""}, 401, "invalid_request"},
		{[]string{"Bearer"}, 401, "invalid_request"},
		{[]string{"Bearer "}, 401, "invalid_request"},
		{[]string{adminToken}, 401, "invalid_request"},
		{[]string{"Basic " + adminToken}, 401, "invalid_request"},
		{[]string{"Bearer\t" + adminToken}, 401, "invalid_request"},
		{[]string{"Bearer " + adminToken, "Bearer " + adminToken}, 401, "invalid_request"},
		{[]string{"Bearer wrong", "Bearer " + adminToken}, 401, "invalid_request"},
		{[]string{"Bearer " + strings.Repeat("x", maxToken+1)}, 401, "invalid_request"},
		{[]string{"Bearer " + adminToken + "x"}, 401, "invalid_token"},
		{[]string{"Bearer " + adminToken[1:]}, 401, "invalid_token"},
		{[]string{"Bearer " + strings.ToUpper(adminToken)}, 401, "invalid_token"},
		{[]string{"Bearer \"" + adminToken + "\""}, 401, "invalid_token"},
		{[]string{"Bearer " + adminToken + ",Bearer x"}, 401, "invalid_token"},
	} {
		a := w.do(call{method: "GET", path: "/api/v1/keys", anonymous: true, header: http.Header{"Authorization": test.fields}})
		require.Equal(t, test.status, a.StatusCode, "%q", test.fields)
		if test.status == 401 {
			a.fails(401, "UNAUTHENTICATED")
			challenge := `Bearer realm="ipallow"`
			if test.fault != "" {
				challenge += `, error="` + test.fault + `"`
			}
			require.Equal(t, []string{challenge}, a.Header.Values("WWW-Authenticate"))
		}
	}
}

// TestKeysTokenIsNoAdministrators tries the token of an API key.
func TestKeysTokenIsNoAdministrators(t *testing.T) {
	w := newWorld(t)
	secret := w.create("a").Secret
	w.do(call{method: "GET", path: "/api/v1/keys", header: http.Header{"Authorization": {"Bearer " + secret}}}).fails(401, "UNAUTHENTICATED")
}

func wrongToken(client *http.Client) call {
	return call{method: "GET", path: "/api/v1/keys", client: client, header: http.Header{"Authorization": {"Bearer wrong"}}}
}

func TestGuesses(t *testing.T) {
	w := newWorld(t)
	var clock atomic.Int64
	begin := time.Now()
	w.handler.guard.now = func() time.Time { return begin.Add(time.Duration(clock.Load())) }
	id := w.create("a").ID

	for range guessBurst {
		w.do(wrongToken(nil)).fails(401, "UNAUTHENTICATED")
	}
	// Now no token counts, on no route.
	for _, o := range operations(t, with("429")) {
		a := w.do(o.call(t, id))
		e := a.fails(429, "TOO_MANY_ATTEMPTS")
		require.Equal(t, "6", a.Header.Get("Retry-After"))
		require.Contains(t, e.Message, "in 6 s")
	}
	w.do(wrongToken(nil)).fails(429, "TOO_MANY_ATTEMPTS")
	// Without a token nothing was guessed, and the answer is as before.
	w.do(call{method: "GET", path: "/api/v1/keys", anonymous: true}).fails(401, "UNAUTHENTICATED")
	// Nobody else is concerned.
	w.do(call{method: "GET", path: "/api/v1/keys", client: w.from("127.0.0.2")}).ok(200, nil)
	w.do(call{method: "GET", path: "/api/v1/keys", by: "203.0.113.5"}).ok(200, nil)

	clock.Add(int64(guessEvery) - 1)
	w.get("/api/v1/keys").fails(429, "TOO_MANY_ATTEMPTS")
	clock.Add(1)
	for range 3 {
		w.get("/api/v1/keys").ok(200, nil) // the right one costs nothing
	}
	w.do(wrongToken(nil)).fails(401, "UNAUTHENTICATED")
	w.get("/api/v1/keys").fails(429, "TOO_MANY_ATTEMPTS")
	clock.Add(int64(time.Hour))
	for range guessBurst {
		w.do(wrongToken(nil)).fails(401, "UNAUTHENTICATED")
	}
	w.get("/api/v1/keys").fails(429, "TOO_MANY_ATTEMPTS")
	require.Equal(t, 2*guessBurst+1, strings.Count(w.output.String(), "wrong token"), "the log has the guesses that were looked at")
	require.Contains(t, w.output.String(), "127.0.0.1")
}

// TestGuessesAtOnce sends many wrong tokens at the same moment. Only so many
// may be compared.
func TestGuessesAtOnce(t *testing.T) {
	var compared atomic.Int64
	g := newGuard(func(string) bool {
		compared.Add(1)
		time.Sleep(time.Millisecond) // so that others come meanwhile
		return false
	})
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			r, _ := http.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer wrong")
			if g.admit(r, netip.MustParseAddr("203.0.113.5")) == nil {
				t.Error("admitted")
			}
		})
	}
	all.Wait()
	require.EqualValues(t, guessBurst, compared.Load())
}

func TestGuessersAreBounded(t *testing.T) {
	g := newGuard(func(token string) bool { return token == "right" })
	ask := func(addr netip.Addr, token string) error {
		r, err := http.NewRequest("GET", "/", nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+token)
		return g.admit(r, addr)
	}
	for i := range guessers + 100 {
		require.Error(t, ask(netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}), "wrong"))
	}
	require.Equal(t, guessers, g.guesses.Len())
	// Right tokens take no room.
	require.NoError(t, ask(netip.MustParseAddr("198.51.100.1"), "right"))
	require.Equal(t, guessers, g.guesses.Len())
	require.False(t, g.guesses.Contains(netip.MustParsePrefix("198.51.100.1/32")))
}

func TestGuesser(t *testing.T) {
	for addr, want := range map[string]string{
		"203.0.113.5":         "203.0.113.5/32",
		"::ffff:203.0.113.5":  "203.0.113.5/32",
		"2001:db8:1:2:3::4":   "2001:db8:1:2::/64",
		"2001:db8:1:2::5%eth": "2001:db8:1:2::/64",
	} {
		require.Equal(t, want, guesser(netip.MustParseAddr(addr)).String())
	}
	require.Equal(t, netip.Prefix{}, guesser(netip.Addr{}))
}

// TestCallersWithoutAnAddress share one count.
func TestCallersWithoutAnAddress(t *testing.T) {
	w := newWorld(t)
	for i := range guessBurst {
		c := wrongToken(nil)
		c.by = fmt.Sprintf("unreadable-%d", i)
		w.do(c).fails(401, "UNAUTHENTICATED")
	}
	w.do(call{method: "GET", path: "/api/v1/keys", by: "unreadable"}).fails(429, "TOO_MANY_ATTEMPTS")
	w.get("/api/v1/keys").ok(200, nil)
}
