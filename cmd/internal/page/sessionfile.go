package page

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/wholefile"
)

// A sessionFile keeps sessions through a restart of the server. It has the
// hashes of their identifiers, from which none can be found. All methods but
// load may be called on a nil file, which keeps nothing.
type sessionFile struct {
	path   string
	token  string // names the administrator's token: another one ends all sessions
	logger *slog.Logger
	saved  time.Time
}

// saveEvery is how precisely the file knows when a session was used last.
const saveEvery = time.Minute

type storedSessions struct {
	Token    string          `json:"token"`
	Sessions []storedSession `json:"sessions"`
}

type storedSession struct {
	Hash    string    `json:"hash"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used"`
}

// load returns the sessions of the file. Those of another token, and a file
// that cannot be read, are none: whoever has the token logs in again.
func (f *sessionFile) load(now time.Time) map[[sha256.Size]byte]*session {
	m := map[[sha256.Size]byte]*session{}
	data, err := os.ReadFile(f.path)
	var stored storedSessions
	if err == nil {
		err = json.Unmarshal(data, &stored)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.logger.Warn("settings page: the sessions cannot be read, so everybody has to log in again", "file", f.path, "error", err)
		}
		return m
	}
	if stored.Token != f.token || len(stored.Sessions) > maxSessions {
		return m
	}
	for _, s := range stored.Sessions {
		hash, err := hex.DecodeString(s.Hash)
		if err != nil || len(hash) != sha256.Size || s.Created.After(now) || s.Used.After(now) {
			continue // a clock that was set back would keep it open for longer
		}
		restored := &session{hash: [sha256.Size]byte(hash), created: s.Created, used: s.Used}
		if !restored.over(now) {
			m[restored.hash] = restored
		}
	}
	return m
}

// stale reports whether the file is to be written although no session began or
// ended.
func (f *sessionFile) stale(now time.Time) bool { return f != nil && now.Sub(f.saved) >= saveEvery }

// save writes the sessions. One that cannot be written is open all the same
// until the server ends.
func (f *sessionFile) save(m map[[sha256.Size]byte]*session, now time.Time) {
	if f == nil {
		return
	}
	f.saved = now
	stored := storedSessions{Token: f.token, Sessions: []storedSession{}}
	for _, s := range m {
		stored.Sessions = append(stored.Sessions, storedSession{hex.EncodeToString(s.hash[:]), s.created, s.lastUse()})
	}
	if err := f.write(stored); err != nil {
		f.logger.Warn("settings page: sessions cannot be kept through a restart", "file", f.path, "error", err)
	}
}

func (f *sessionFile) write(stored storedSessions) error {
	data, err := json.Marshal(stored)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return wholefile.Write(f.path, data)
}
