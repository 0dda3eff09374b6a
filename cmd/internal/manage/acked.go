package manage

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// An acked is what is kept beside the database of the last change that was
// acknowledged, in the file PATH-acked. SQLite ends its write-ahead log at the
// first frame with a wrong checksum, as it has to after a power cut, so a
// damaged bit takes back every change behind it without an error. The same goes
// for a log that was removed and for an old copy of the database.
//
// The file has two slots, which are written in turn and waited for before a
// change is acknowledged: of a write that was cut off, the other one is left.
type acked struct {
	file *os.File
	ackedState
}

// An ackedState is a slot: JSON, filled up with spaces, and its CRC-32C, so
// that a person can read it.
type ackedState struct {
	Database string `json:"database"` // Service.Identity
	Change   Change `json:"change"`
	Writes   uint64 `json:"writes"` // counts them; the higher one counts
	// Accepting says that the last start was told to accept an older state.
	Accepting bool `json:"accepting,omitempty"`
}

// ackedSuffix is what the file's name has after that of the database.
const ackedSuffix = "-acked"

const (
	slotSize  = 512
	slotAt    = 4096 // where the second one begins: no sector has both
	ackedSize = slotAt + slotSize
)

func (a *ackedState) encode() ([]byte, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	if len(text) > slotSize-10 {
		return nil, fmt.Errorf("a slot has no room for %d bytes", len(text))
	}
	padded := string(text) + strings.Repeat(" ", slotSize-10-len(text))
	return fmt.Appendf(nil, "%s\n%08x\n", padded, crc32.Checksum([]byte(padded), castagnoli)), nil
}

func decodeSlot(b []byte) (a ackedState, ok bool) {
	text := b[:slotSize-10]
	if string(b[slotSize-10:]) != fmt.Sprintf("\n%08x\n", crc32.Checksum(text, castagnoli)) {
		return a, false
	}
	return a, json.Unmarshal(text, &a) == nil
}

// Faults of the file.
var (
	errAckedMissing = errors.New("the file is missing")
	errAckedDamaged = errors.New("the file is damaged")
)

// readAcked reads the file.
func readAcked(path string) (a ackedState, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return a, errAckedMissing
	}
	if err != nil {
		return a, err
	}
	found := false
	for at := 0; at+slotSize <= len(b); at += slotAt {
		if s, ok := decodeSlot(b[at : at+slotSize]); ok && (!found || s.Writes > a.Writes) {
			a, found = s, true
		}
	}
	if !found {
		return a, errAckedDamaged
	}
	return a, nil
}

// newAcked puts a file with this state in the place of the one there may be.
func newAcked(path string, state ackedState) (_ *acked, err error) {
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	a := &acked{file: f, ackedState: state}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(temp)
		}
	}()
	// Its size never changes: what is written later needs no room.
	if _, err := f.Write(make([]byte, ackedSize)); err != nil {
		return nil, err
	}
	for range 2 {
		if err := a.write(); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(f.Sync(), os.Rename(temp, path)); err != nil {
		return nil, err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, err
	}
	return a, nil
}

// openAcked opens the file whose state was read.
func openAcked(path string, state ackedState) (*acked, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &acked{file: f, ackedState: state}, nil
}

// write has the disk keep the state.
func (a *acked) write() error {
	a.Writes++
	b, err := a.encode()
	if err != nil {
		return err
	}
	if _, err := a.file.WriteAt(b, int64(a.Writes%2)*slotAt); err != nil {
		return err
	}
	return syncData(a.file)
}

// Acknowledged returns the last change that was acknowledged of the database at
// path, which may be in use; the zero Change if that is not known.
func Acknowledged(path string) (Change, error) {
	a, err := readAcked(path + ackedSuffix)
	if errors.Is(err, errAckedMissing) || errors.Is(err, errAckedDamaged) {
		err = nil // a start says so
	}
	return a.Change, err
}

// An OlderStateError says that the database lacks changes that were
// acknowledged, or that nobody can know whether it does.
type OlderStateError struct {
	Path         string
	Reason       string
	Found        Change // the last one that the database has
	Acknowledged Change // the zero Change: not known
	Log          string // where its write-ahead log is kept as it was; "" if there was none
}

func (e *OlderStateError) Error() string {
	s := fmt.Sprintf("%s: %s. Its last change is number %d%s", e.Path, e.Reason, e.Found.Revision, stampOf(e.Found.Time))
	switch missing := e.Acknowledged.Revision - e.Found.Revision; {
	case e.Acknowledged.Revision == 0:
	case missing > 0:
		s += fmt.Sprintf("; number %d%s was acknowledged, so %d are missing", e.Acknowledged.Revision, stampOf(e.Acknowledged.Time), missing)
	default:
		s += fmt.Sprintf("; number %d%s was acknowledged, and is another one here", e.Acknowledged.Revision, stampOf(e.Acknowledged.Time))
	}
	if e.Log != "" {
		s += "; its write-ahead log is kept as " + e.Log
	}
	return s + ". Keys that were revoked, or lists that were narrowed, since may be served again with it." +
		" Put the newest copy in its place (docs/backup.md), or start once with --accept-older-state to go on with what is there"
}

func stampOf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " of " + t.UTC().Format("2006-01-02 15:04:05.000") + " UTC"
}

// checkAcked compares the database with what was acknowledged, and leaves
// s.acked open. Accept goes on with what there is, but not at two starts in a
// row: a flag that was left in a unit file would accept what comes next.
func (s *Service) checkAcked(ctx context.Context, path string, accept bool, total uint64) error {
	file := path + ackedSuffix
	last, err := s.LastChange(ctx)
	if err != nil {
		return err
	}
	var kept int
	if err := s.db.reader.QueryRowContext(ctx, "SELECT count(*) FROM acked").Scan(&kept); err != nil {
		return err
	}
	a, err := readAcked(file)
	found := err == nil
	older := &OlderStateError{Path: path, Found: last, Acknowledged: a.Change}
	switch {
	case errors.Is(err, errAckedMissing) && kept == 0: // from before there was one
	case errors.Is(err, errAckedMissing):
		older.Reason = "it cannot be known whether it has all changes that were acknowledged, since " + file + " is missing"
	case errors.Is(err, errAckedDamaged):
		older.Reason = "it cannot be known whether it has all changes that were acknowledged, since " + file + " is damaged"
	case err != nil:
		return err
	case a.Database != s.identity:
		older.Reason = "it is another database than the one that " + file + " belongs to"
	case a.Change.Revision > last.Revision:
		older.Reason = "it is older than what was acknowledged"
	default:
		at, err := s.ChangeAt(ctx, a.Change.Revision)
		if err != nil {
			return err
		}
		if a.Change.Revision > 0 && at.Mark != a.Change.Mark {
			older.Reason = "it was changed apart from what was acknowledged"
		}
	}
	mixed, err := s.isMixed(ctx, total)
	if err != nil {
		return err
	}
	if mixed && older.Reason == "" {
		older.Reason = "parts of it are older than others: its keys are not those that its last change left"
	}
	lost, err := s.unfound(ctx)
	if err != nil {
		return err
	}
	if lost > 0 && older.Reason == "" {
		older.Reason = fmt.Sprintf("parts of it are older than others: %d keys are not found by their identifiers, and could not be revoked", lost)
	}
	state := ackedState{Database: s.identity, Change: last, Writes: a.Writes, Accepting: accept}
	switch {
	case older.Reason == "" && found:
		if accept {
			s.log.Warn("--accept-older-state was given and not needed: remove it")
		}
		s.acked, err = openAcked(file, a)
		if err == nil && a != state {
			s.acked.ackedState = state
			err = s.acked.write()
		}
		return err
	case older.Reason == "":
	default:
		if err := s.accepts(file, a, found, accept, older); err != nil {
			return err
		}
		if lost > 0 {
			if _, err := s.db.writer.ExecContext(ctx, "REINDEX"); err != nil {
				return err
			}
		}
		if mixed {
			_, err := s.db.writer.ExecContext(ctx, insertChange, nanos(s.now()), newMark(), int64(total))
			if err != nil {
				return err
			}
		}
		if state.Change, err = s.LastChange(ctx); err != nil {
			return err
		}
	}
	if s.acked, err = newAcked(file, state); err != nil || kept > 0 {
		return err
	}
	_, err = s.db.writer.ExecContext(ctx, "INSERT INTO acked (since) VALUES (?)", nanos(s.now()))
	return err
}

// accepts returns nil if an older state is to be gone on with, and otherwise why
// not.
func (s *Service) accepts(file string, a ackedState, found, accept bool, older *OlderStateError) error {
	if accept && !(found && a.Accepting) {
		s.log.Warn("an older state of the keys is accepted: remove --accept-older-state now", "database", older.Path, "reason", older.Reason,
			"change", older.Found.Revision, "acknowledged", older.Acknowledged.Revision)
		return nil
	}
	if accept {
		older.Reason += " (--accept-older-state was given at the last start too, and accepts nothing then: start once without it)"
		return older
	}
	if found && a.Accepting { // it may be given at the next start
		f, err := openAcked(file, a)
		if err == nil {
			f.Accepting = false
			err = errors.Join(f.write(), f.file.Close())
		}
		if err != nil {
			return errors.Join(older, err)
		}
	}
	return older
}

// checkPresent refuses to make a database where one was lost.
func (s *Service) checkPresent(path string, accept bool) error {
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		return nil
	}
	a, err := readAcked(path + ackedSuffix)
	if err != nil || a.Change.Revision == 0 {
		return nil // a first start, or one that did not come far
	}
	return s.accepts(path+ackedSuffix, a, true, accept, &OlderStateError{Path: path, Reason: "it is missing or empty", Acknowledged: a.Change})
}

// isMixed reports whether the active keys are others than those that the last
// change left. Each row has a checksum of its own; this finds rows that are whole
// and too old, as of a file that was put in place while its write-ahead log was
// left.
func (s *Service) isMixed(ctx context.Context, total uint64) (bool, error) {
	var want int64
	err := s.db.reader.QueryRowContext(ctx, "SELECT total FROM changes ORDER BY revision DESC LIMIT 1").Scan(&want)
	if errors.Is(err, sql.ErrNoRows) { // from before there were changes
		return false, nil
	}
	return uint64(want) != total, err
}

// unfound returns how many active keys the index of identifiers lacks. Load reads the table
// alone, so they would be served, and every change of them would say that there is no such
// key. It takes 1.4 s for a million keys.
func (s *Service) unfound(ctx context.Context) (n int, err error) {
	err = s.db.reader.QueryRowContext(ctx, `SELECT count(*) FROM keys AS k NOT INDEXED WHERE revoked = 0 AND NOT EXISTS
		(SELECT 1 FROM keys AS i INDEXED BY sqlite_autoindex_keys_1 WHERE i.id = k.id AND i.rowid = k.rowid)`).Scan(&n)
	return n, err
}

// acknowledge has the disk keep that a change was stored. If it cannot, the
// change is in force all the same: what is lost is that its loss is noticed.
func (s *Service) acknowledge(c Change) {
	s.acked.Change = c
	if err := s.acked.write(); err != nil {
		s.log.Error("it cannot be noted beside the database that a change was acknowledged; if the database loses it, nobody will notice",
			"file", s.acked.file.Name(), "change", c.Revision, "error", err)
	}
}

// keepLog copies the write-ahead log of a database that is refused, before it is
// closed: what SQLite does not take of it is gone then.
func keepLog(path string, now time.Time) (string, error) {
	from, err := os.Open(path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer from.Close()
	if info, err := from.Stat(); err != nil || info.Size() == 0 {
		return "", err
	}
	name := path + "-wal" + now.UTC().Format(".refused-20060102T150405Z")
	to, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, from)
	return name, errors.Join(err, to.Sync(), to.Close())
}
