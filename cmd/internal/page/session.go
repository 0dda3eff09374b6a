package page

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"sync"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/claims"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// How long a session lasts, and how many there may be: one more ends the one
// that was used least lately.
const (
	sessionIdle     = 2 * time.Hour
	sessionAbsolute = 12 * time.Hour
	maxSessions     = 1000
)

// The name of the session's cookie. Over TLS it has the prefix with which
// browsers take the cookie from this host alone, whole and Secure, so that
// nobody who can write cookies for a parent domain can plant one.
const (
	cookieName       = claims.SessionCookie
	secureCookieName = "__Host-" + claims.SessionCookie
)

// A session is one login. Its fields but the first two are guarded by its
// mutex.
type session struct {
	hash    [sha256.Size]byte
	created time.Time

	mu      sync.Mutex
	used    time.Time
	notices []notice
	secrets []*shown
}

// A notice is shown once, on the next page.
type notice struct {
	Text string
	Warn bool
}

// A shown secret waits for the page that shows it, once and soon.
type shown struct {
	created manage.Created
	rotated bool
	at      time.Time
}

// Secrets wait for their page this long and in this number, so that a browser
// that never follows the redirection leaves nothing behind.
const (
	secretWait = 5 * time.Minute
	maxSecrets = 4
)

// sessions are those that are open, by the hash of their identifiers, so that
// a copy of the memory's index is worth nothing. The lookup by hash takes the
// same time whatever a guess has in common with an identifier.
type sessions struct {
	now  func() time.Time
	file *sessionFile // nil: they end with the process
	mu   sync.Mutex
	m    map[[sha256.Size]byte]*session
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, m: map[[sha256.Size]byte]*session{}}
}

// open begins a session and returns its identifier, 256 random bits.
func (ss *sessions) open() string {
	var b [32]byte
	rand.Read(b[:]) // never fails since Go 1.24
	id := base64.RawURLEncoding.EncodeToString(b[:])
	now := ss.now()
	s := &session{hash: sha256.Sum256([]byte(id)), created: now, used: now}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if len(ss.m) >= maxSessions {
		ss.evict(now)
	}
	ss.m[s.hash] = s
	ss.file.save(ss.m, now)
	return id
}

// evict ends all that are over, or else the one that was used least lately.
func (ss *sessions) evict(now time.Time) {
	var oldest *session
	for _, s := range ss.m {
		if s.over(now) {
			delete(ss.m, s.hash)
		} else if oldest == nil || s.lastUse().Before(oldest.lastUse()) {
			oldest = s
		}
	}
	if len(ss.m) >= maxSessions {
		delete(ss.m, oldest.hash)
	}
}

// find returns the open session with this identifier and marks it as used, or
// returns nil.
func (ss *sessions) find(id string) *session {
	if id == "" {
		return nil
	}
	hash := sha256.Sum256([]byte(id))
	now := ss.now()
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.m[hash]
	if s == nil {
		return nil
	}
	if s.over(now) {
		delete(ss.m, hash)
		return nil
	}
	s.mu.Lock()
	s.used = now
	s.mu.Unlock()
	if ss.file.stale(now) {
		ss.file.save(ss.m, now)
	}
	return s
}

// end closes s; nil is closed already.
func (ss *sessions) end(s *session) {
	if s == nil {
		return
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	delete(ss.m, s.hash)
	ss.file.save(ss.m, ss.now())
}

func (s *session) lastUse() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

func (s *session) over(now time.Time) bool {
	return now.Sub(s.created) >= sessionAbsolute || now.Sub(s.lastUse()) >= sessionIdle
}

// tell has the next page show a notice.
func (s *session) tell(n notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.notices) < 10 {
		s.notices = append(s.notices, n)
	}
}

// told returns the notices that no page has shown yet, and forgets them.
func (s *session) told() []notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.notices
	s.notices = nil
	return n
}

// keep holds a secret for the page that will show it.
func (s *session) keep(c manage.Created, rotated bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.secrets) >= maxSecrets {
		s.secrets = append(s.secrets[:0:0], s.secrets[1:]...)
	}
	s.secrets = append(s.secrets, &shown{c, rotated, now})
}

// take returns the newest secret of the key that waits, and forgets it; nil if
// there is none.
func (s *session) take(keyID string, now time.Time) *shown {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *shown
	kept := s.secrets[:0:0]
	for _, w := range s.secrets {
		switch {
		case now.Sub(w.at) >= secretWait:
		case w.created.Key.ID == keyID:
			found = w
		default:
			kept = append(kept, w)
		}
	}
	s.secrets = kept
	return found
}

// secure reports whether the browser reached the page over TLS.
func (p *Page) secure(r *http.Request) bool { return r.TLS != nil || p.SecureCookies }

// cookie returns the session's identifier that r carries, or "".
func (p *Page) cookie(r *http.Request) string {
	name := cookieName
	if p.secure(r) {
		name = secureCookieName
	}
	// Two cookies of one name: one of them was planted. Neither is believed.
	if c := r.CookiesNamed(name); len(c) == 1 {
		return c[0].Value
	}
	return ""
}

// setCookie gives the browser a session's identifier, or with "" takes it.
func (p *Page) setCookie(w http.ResponseWriter, r *http.Request, id string) {
	c := &http.Cookie{
		Name:     cookieName,
		Value:    id,
		Path:     "/",
		MaxAge:   int(sessionAbsolute / time.Second),
		HttpOnly: true,
		SameSite: http.SameSiteStrictMode,
	}
	if p.secure(r) {
		c.Name, c.Secure = secureCookieName, true
	}
	if id == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}
