package keyring

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newKey returns a key with its token.
func newKey() (*Key, string) {
	id := NewID()
	secret, hash := NewSecret()
	return &Key{ID: id, Hash: hash, Scopes: Read}, Token(id, secret)
}

func TestNewIDAndSecret(t *testing.T) {
	ids, secrets := make(map[string]bool), make(map[string]bool)
	var ones, zeros [32]byte // the bits of secrets that were ever set, and clear
	for range 1000 {
		id := NewID()
		require.True(t, ValidID(id), id)
		secret, hash := NewSecret()
		require.Len(t, secret, SecretLen)
		raw, err := base64.RawURLEncoding.DecodeString(secret)
		require.NoError(t, err)
		require.Len(t, raw, 32)
		require.Equal(t, HashSecret(secret), hash)
		ids[id], secrets[secret] = true, true
		for i, b := range raw {
			ones[i] |= b
			zeros[i] |= ^b
		}
	}
	for i := range ones {
		require.Equal(t, []byte{0xff, 0xff}, []byte{ones[i], zeros[i]}, "byte %d is not random", i)
	}
	require.Len(t, ids, 1000)
	require.Len(t, secrets, 1000)
}

func TestParseToken(t *testing.T) {
	_, token := newKey()
	require.Len(t, token, TokenLen)
	id, secret, ok := ParseToken(token)
	require.True(t, ok)
	require.Equal(t, token, Token(id, secret))

	idAt := len(Prefix)
	for name, bad := range map[string]string{
		"empty":                 "",
		"prefix alone":          Prefix,
		"no prefix":             token[idAt:],
		"another prefix":        "sk_" + token[1:],
		"prefix in upper case":  "IPK_" + token[idAt:],
		"no secret":             token[:idAt+IDLen],
		"empty secret":          token[:idAt+IDLen+1],
		"a character too few":   token[:TokenLen-1],
		"a character too many":  token + "A",
		"a space before":        " " + token,
		"a space behind":        token + " ",
		"a line end behind":     token + "\n",
		"identifier too short":  Prefix + token[idAt+1:] + "A",
		"identifier upper case": Prefix + strings.ToUpper(token[idAt:idAt+IDLen-1]) + "A" + token[idAt+IDLen:],
		"identifier with a 0":   Prefix + "0" + token[idAt+1:],
		"identifier with a 1":   Prefix + "1" + token[idAt+1:],
		"identifier with an 8":  Prefix + "8" + token[idAt+1:],
		"identifier with a NUL": Prefix + "\x00" + token[idAt+1:],
		"not ASCII":             Prefix + "é" + token[idAt+2:],
		"a quote":               Prefix + "'" + token[idAt+1:],
		"no separator":          token[:idAt+IDLen] + "-" + token[idAt+IDLen+1:],
		"twice the prefix":      Prefix + token[:TokenLen-idAt],
		"very long":             Prefix + strings.Repeat("a", 1<<16),
	} {
		id, secret, ok := ParseToken(bad)
		require.False(t, ok, name)
		require.Empty(t, id, name)
		require.Empty(t, secret, name)
	}
	// The secret's bytes are not looked at: its hash decides.
	_, _, ok = ParseToken(token[:TokenLen-1] + "\x00")
	require.True(t, ok)
}

func FuzzParseToken(f *testing.F) {
	_, token := newKey()
	f.Add(token)              // what a client sends
	f.Add(token[:TokenLen-1]) // cut short, as by a shell
	f.Add("Bearer " + token)  // the whole header
	f.Add(Prefix + strings.Repeat("_", TokenLen-len(Prefix)))
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		id, secret, ok := ParseToken(s)
		if !ok {
			if id != "" || secret != "" {
				t.Fatalf("%q is no token and gives %q, %q", s, id, secret)
			}
			return
		}
		if len(secret) != SecretLen || !ValidID(id) || Token(id, secret) != s {
			t.Fatalf("%q gives %q, %q", s, id, secret)
		}
	})
}

func TestValidID(t *testing.T) {
	require.True(t, ValidID("abcdefghijklmnop"))
	require.True(t, ValidID("qrstuvwxyz234567"))
	for _, bad := range []string{"", "abcdefghijklmno", "abcdefghijklmnopq", "Abcdefghijklmnop", "abcdefghijklmno1",
		"abcdefghijklmno8", "abcdefghijklmno%", "abcdefghijklmn\u00e9", "\x00bcdefghijklmnop"} {
		require.False(t, ValidID(bad), "%q", bad)
	}
}

func TestScopes(t *testing.T) {
	for s, names := range map[Scopes][]string{0: {}, Read: {"read"}, Write: {"write"}, Read | Write: {"read", "write"}} {
		require.Equal(t, names, s.Names())
		back, err := ParseScopes(names)
		require.NoError(t, err)
		require.Equal(t, s, back)
	}
	s, err := ParseScopes([]string{"write", "read", "read"})
	require.NoError(t, err)
	require.Equal(t, Read|Write, s)
	for _, bad := range []string{"", "Read", "read ", "admin", "read,write", strings.Repeat("x", 1<<15)} {
		s, err := ParseScopes([]string{"write", bad})
		require.ErrorIs(t, err, ErrScope)
		require.Zero(t, s)
		require.Less(t, len(err.Error()), 200)
	}
	for _, m := range []string{"GET", "HEAD", "OPTIONS"} {
		require.True(t, Read.Permits(m), m)
		require.False(t, Write.Permits(m), m)
	}
	for _, m := range []string{"POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE", "PROPFIND", "get", "", "GET "} {
		require.False(t, Read.Permits(m), "%q", m)
		require.True(t, Write.Permits(m), "%q", m)
		require.False(t, Scopes(0).Permits(m), "%q", m)
	}
}

func TestRing(t *testing.T) {
	var r Ring
	k, token := newKey()
	require.Nil(t, r.Authenticate(token), "not there yet")
	require.Nil(t, r.Get(k.ID))
	r.Put(k)
	require.Same(t, k, r.Authenticate(token))
	require.Same(t, k, r.Get(k.ID))
	require.Equal(t, 1, r.Len())

	// Another key's secret, and a secret that differs in one bit.
	_, other := newKey()
	require.Nil(t, r.Authenticate(token[:TokenLen-SecretLen]+other[TokenLen-SecretLen:]))
	for i := TokenLen - SecretLen; i < TokenLen; i++ {
		wrong := []byte(token)
		wrong[i] ^= 1
		require.Nil(t, r.Authenticate(string(wrong)), "byte %d", i)
	}
	require.Nil(t, r.Authenticate(other))

	// A new secret takes the place of the old one.
	secret, hash := NewSecret()
	r.Put(&Key{ID: k.ID, Hash: hash, Scopes: Write})
	require.Equal(t, 1, r.Len())
	require.Nil(t, r.Authenticate(token))
	require.Equal(t, Write, r.Authenticate(Token(k.ID, secret)).Scopes)

	r.Remove(k.ID)
	r.Remove(k.ID)
	require.Zero(t, r.Len())
	require.Nil(t, r.Authenticate(Token(k.ID, secret)))
}

// A token of another system's form is found by the SHA-256 of all of it, and by nothing
// less.
func TestForeignTokens(t *testing.T) {
	var r Ring
	for _, token := range []string{
		"sk_live_4eC39HqLyjWDarjtT1zdp7dc", "0123456789abcdef0123456789abcdef", "a.b-c~d+e/f==",
		"ipk_of_another_system", strings.Repeat("x", MaxForeignLen), "eyJhbGciOi.J9.sig",
	} {
		k := &Key{Hash: sha256.Sum256([]byte(token)), Scopes: Read}
		k.ID = ForeignID(k.Hash)
		require.True(t, ValidID(k.ID))
		require.Nil(t, r.Authenticate(token), "not there yet")
		r.Put(k)
		require.Same(t, k, r.Authenticate(token), token)
		for i := range token {
			wrong := []byte(token)
			wrong[i] ^= 1
			require.Nil(t, r.Authenticate(string(wrong)), "byte %d of %s", i, token)
		}
		for _, wrong := range []string{token + "x", " " + token, token + " ", token[1:], k.ID, Token(k.ID, strings.Repeat("A", SecretLen)), strings.ToUpper(token) + "_"} {
			require.Nil(t, r.Authenticate(wrong), "%q", wrong)
		}

		// Its identifier alone does not do: the whole hash decides.
		other := k.Hash
		other[len(other)-1] ^= 1
		r.Put(&Key{ID: k.ID, Hash: other})
		require.Nil(t, r.Authenticate(token))

		// A new secret is of our own form, and the old token is a stranger's.
		secret, hash := NewSecret()
		r.Put(&Key{ID: k.ID, Hash: hash})
		require.NotNil(t, r.Authenticate(Token(k.ID, secret)))
		require.Nil(t, r.Authenticate(token))
		require.Nil(t, r.Authenticate(secret), "the secret without its key")
		r.Remove(k.ID)
	}
	for _, bad := range []string{"", " ", "a b", "a\x00", "a\x7f", "é", "a\n", strings.Repeat("x", MaxForeignLen+1)} {
		hash := Hash(sha256.Sum256([]byte(bad)))
		r.Put(&Key{ID: ForeignID(hash), Hash: hash})
		require.Nil(t, r.Authenticate(bad), "%q is no token", bad)
	}
}

func TestNoAllocs(t *testing.T) {
	var r Ring
	k, token := newKey()
	r.Put(k)
	_, unknown := newKey()
	wrong := token[:TokenLen-1] + "!"
	require.Zero(t, testing.AllocsPerRun(100, func() { r.Authenticate(token) }), "a right token")
	require.Zero(t, testing.AllocsPerRun(100, func() { r.Authenticate(unknown) }), "an unknown key")
	require.Zero(t, testing.AllocsPerRun(100, func() { r.Authenticate(wrong) }), "a wrong secret")
	foreign := "sk_live_4eC39HqLyjWDarjtT1zdp7dc"
	hash := Hash(sha256.Sum256([]byte(foreign)))
	require.Zero(t, testing.AllocsPerRun(100, func() { r.Authenticate(foreign) }), "another system's, unknown")
	r.Put(&Key{ID: ForeignID(hash), Hash: hash})
	require.Zero(t, testing.AllocsPerRun(100, func() { r.Authenticate(foreign) }), "another system's")
	require.Zero(t, testing.AllocsPerRun(100, func() { k.Used(time.Now()) }))
}

func TestRingAll(t *testing.T) {
	var r Ring
	want := make(map[string]bool)
	for range 100 {
		k, _ := newKey()
		r.Put(k)
		want[k.ID] = true
	}
	got := make(map[string]bool)
	for k := range r.All {
		got[k.ID] = true
	}
	require.Equal(t, want, got)
	n := 0
	for range r.All {
		if n++; n == 3 {
			break
		}
	}
	require.Equal(t, 3, n)
}

func TestUsed(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 999, time.UTC)
	k, _ := newKey()
	require.True(t, k.LastUsed().IsZero())
	k.Used(now)
	require.Equal(t, now.Truncate(time.Second), k.LastUsed())
	k.Used(now.Add(-time.Hour))
	require.Equal(t, now.Truncate(time.Second), k.LastUsed(), "a mark moves forward only")

	var r Ring
	r.Put(k)
	next := &Key{ID: k.ID}
	r.Put(next)
	require.Equal(t, k.LastUsed(), next.LastUsed(), "the mark is carried over")
	newer := &Key{ID: k.ID}
	newer.Used(now.Add(time.Hour))
	r.Put(newer)
	require.Equal(t, now.Add(time.Hour).Truncate(time.Second), r.Get(k.ID).LastUsed())
}

// TestAuthenticateComparesWhole says what the time of a refusal may depend on:
// a secret that shares all but its last bit with the right one takes the same
// way as any other, through the hash and the constant-time comparison. The
// clock is too coarse to show it, so the hashes are: they share no prefix.
func TestAuthenticateComparesWhole(t *testing.T) {
	secret, hash := NewSecret()
	shared := 0
	for i := range secret {
		near := []byte(secret)
		near[i] ^= 1
		h := HashSecret(string(near))
		n := 0
		for n < len(h) && h[n] == hash[n] {
			n++
		}
		shared = max(shared, n)
	}
	require.LessOrEqual(t, shared, 4, "hashes of near secrets share a long prefix")
	for i := range hash {
		var r Ring
		k := &Key{ID: NewID(), Hash: hash}
		k.Hash[i] ^= 1
		r.Put(k)
		require.Nil(t, r.Authenticate(Token(k.ID, secret)), "byte %d of the hash", i)
	}
}

// TestRingConcurrently changes a ring under readers. A key that is never
// removed is always known, and one that is removed for good is not known by
// anyone who asks afterwards.
func TestRingConcurrently(t *testing.T) {
	var r Ring
	fixed, fixedToken := newKey()
	r.Put(fixed)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var faults []string
	fail := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		faults = append(faults, fmt.Sprintf(format, args...))
	}
	for range 3 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				k := r.Authenticate(fixedToken)
				if k == nil {
					fail("the fixed key is unknown")
					return
				}
				k.Used(time.Unix(int64(i), 0))
				for k := range r.All {
					k.LastUsed()
				}
			}
		})
	}
	var writers sync.WaitGroup
	for range 3 {
		writers.Go(func() {
			for range 500 {
				k, token := newKey()
				r.Put(k)
				if r.Authenticate(token) != k {
					fail("a key that was put is unknown")
				}
				r.Put(&Key{ID: fixed.ID, Hash: fixed.Hash})
				r.Remove(k.ID)
				if r.Authenticate(token) != nil {
					fail("a key that was removed is known")
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	wg.Wait()
	require.Empty(t, faults)
	require.Equal(t, 1, r.Len())
}

func BenchmarkAuthenticate(b *testing.B) {
	b.Run("form=foreign", func(b *testing.B) {
		var r Ring
		token := "sk_live_4eC39HqLyjWDarjtT1zdp7dc"
		hash := Hash(sha256.Sum256([]byte(token)))
		r.Put(&Key{ID: ForeignID(hash), Hash: hash})
		b.ReportAllocs()
		for b.Loop() {
			if r.Authenticate(token) == nil {
				b.Fatal("unknown")
			}
		}
	})
	b.Run("form=foreign,length=512,unknown", func(b *testing.B) {
		var r Ring
		token := strings.Repeat("x", MaxForeignLen)
		b.ReportAllocs()
		for b.Loop() {
			if r.Authenticate(token) != nil {
				b.Fatal("known")
			}
		}
	})
	for _, n := range []int{1, 100_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			var r Ring
			tokens := make([]string, n)
			for i := range tokens {
				k, token := newKey()
				r.Put(k)
				tokens[i] = token
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if r.Authenticate(tokens[i%n]) == nil {
					b.Fatal("unknown")
				}
			}
		})
	}
}
