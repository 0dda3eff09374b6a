package api

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/guesses"
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
	w.handler.guard.guesses = guesses.New(func() time.Time { return begin.Add(time.Duration(clock.Load())) })
	id := w.create("a").ID

	for range guesses.Burst {
		w.do(wrongToken(nil)).fails(401, "UNAUTHENTICATED")
	}
	// Now a wrong one is told so on every route, and the right one is answered on
	// every route.
	for _, o := range operations(t, with("429")) {
		c := o.call(t, id)
		c.header = http.Header{"Authorization": {"Bearer wrong"}}
		a := w.do(c)
		e := a.fails(429, "TOO_MANY_ATTEMPTS")
		require.Equal(t, "6", a.Header.Get("Retry-After"))
		require.Contains(t, e.Message, "in 6 s")
		require.NotContains(t, []int{401, 429}, w.do(o.call(t, id)).StatusCode, "%s %s", o.method, o.path)
	}
	// Without a token nothing was guessed, and the answer is as before.
	w.do(call{method: "GET", path: "/api/v1/keys", anonymous: true}).fails(401, "UNAUTHENTICATED")
	// Nobody else is concerned.
	w.do(wrongToken(w.from("127.0.0.2"))).fails(401, "UNAUTHENTICATED")

	clock.Add(int64(guesses.Every))
	w.do(wrongToken(nil)).fails(401, "UNAUTHENTICATED")
	w.do(wrongToken(nil)).fails(429, "TOO_MANY_ATTEMPTS")
	require.Equal(t, guesses.Burst+2, strings.Count(w.output.String(), "\"level\":\"WARN\""), "the log has the guesses within the bounds")
	require.Contains(t, w.output.String(), "127.0.0.1")
}

// TestGuessesWithoutEnd has a client guess all the time beside requests with the
// right token, from the same address, and through the same proxy with an address
// of its own choice for each guess.
func TestGuessesWithoutEnd(t *testing.T) {
	w := newWorld(t)
	var wrong [2]map[int]int
	done := make(chan struct{})
	var all sync.WaitGroup
	for i := range wrong {
		wrong[i] = map[int]int{}
		all.Go(func() {
			for n := 0; n < 3*guesses.AllBurst; n++ {
				c := wrongToken(nil)
				if i == 1 {
					c.by = fmt.Sprintf("203.0.113.%d", n)
				}
				wrong[i][w.do(c).StatusCode]++
			}
		})
	}
	go func() { all.Wait(); close(done) }()
	for n := 0; ; n++ {
		id := w.create(fmt.Sprint(n)).ID
		w.do(call{method: "DELETE", path: "/api/v1/keys/" + id}).ok(200, nil)
		w.do(call{method: "GET", path: "/api/v1/keys", by: "203.0.113.5"}).ok(200, nil)
		select {
		case <-done:
		default:
			continue
		}
		break
	}
	for i := range wrong {
		require.Positive(t, wrong[i][401])
		require.Greater(t, wrong[i][429], guesses.AllBurst, "%d: they were slowed: %v", i, wrong[i])
	}
}

// TestCallersWithoutAnAddress share one count.
func TestCallersWithoutAnAddress(t *testing.T) {
	w := newWorld(t)
	for i := range guesses.Burst {
		c := wrongToken(nil)
		c.by = fmt.Sprintf("unreadable-%d", i)
		w.do(c).fails(401, "UNAUTHENTICATED")
	}
	c := wrongToken(nil)
	c.by = "unreadable"
	w.do(c).fails(429, "TOO_MANY_ATTEMPTS")
	w.do(call{method: "GET", path: "/api/v1/keys", by: "unreadable"}).ok(200, nil)
}
