// Package backup copies the data directory of a server that may be running, and
// makes a data directory of such a copy.
//
// A backup is a directory:
//
//	ipallowd.db        the keys, lists and the audit trail, as of one moment
//	ipallowd.db-acked  the last change that it has
//	admin-token        if the server made one
//	policy.json        what the lists were accepted by
//	usage.db           the usage log, where it was asked for
//	backup.json        what it is of, and the SHA-256 of each file; written last
package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/sqlitefile"
)

// Names of files.
const (
	keysFile     = "ipallowd.db"
	ackedFile    = keysFile + "-acked"
	tokenFile    = "admin-token"
	policyFile   = "policy.json"
	logFile      = "usage.db"
	manifestFile = "backup.json"
)

// A Manifest says what a backup has.
type Manifest struct {
	Made     time.Time         `json:"made_at"`
	Database string            `json:"database"` // manage.Service.Identity
	Change   manage.Change     `json:"change"`   // the last one that it has
	Keys     int               `json:"keys"`     // active ones
	Files    map[string]string `json:"files"`    // SHA-256 by name
}

// Make copies the data directory to a new one. A server may run on it, and
// nothing waits for the copy. The copy has been opened as a server opens it when
// Make returns; after an error there is none.
func Make(ctx context.Context, data, dir string, log bool) (_ *Manifest, err error) {
	if err := usable(filepath.Join(data, keysFile)); err != nil {
		return nil, err
	}
	if err := newDir(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, empty(dir))
		}
	}()
	// What was acknowledged by now must be in the copy: a log that is damaged
	// would not be missed by SQLite.
	acked, err := manage.Acknowledged(filepath.Join(data, keysFile))
	if err != nil {
		return nil, err
	}
	files := []string{keysFile, ackedFile}
	if err := snapshot(ctx, filepath.Join(data, keysFile), filepath.Join(dir, keysFile)); err != nil {
		return nil, err
	}
	m, err := open(ctx, dir)
	if err != nil {
		return nil, err
	}
	if m.Change.Revision < acked.Revision {
		return nil, fmt.Errorf("%s has changes up to number %d only, and number %d was acknowledged: it is damaged or an old copy; the server does not start with it",
			filepath.Join(data, keysFile), m.Change.Revision, acked.Revision)
	}
	if log {
		if err := snapshot(ctx, filepath.Join(data, logFile), filepath.Join(dir, logFile)); err != nil {
			return nil, err
		}
		files = append(files, logFile)
	}
	for _, name := range []string{tokenFile, policyFile} {
		switch err := copyFile(filepath.Join(data, name), filepath.Join(dir, name)); {
		case err == nil:
			files = append(files, name)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	m.Files = make(map[string]string)
	for _, name := range files {
		if m.Files[name], err = seal(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	return m, writeManifest(dir, m)
}

// usable says why a file cannot be copied from.
func usable(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Size() == 0 {
		err = fmt.Errorf("%s is empty", path)
	}
	return err
}

// newDir makes a directory that nobody but its owner reads.
func newDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		return fmt.Errorf("%s is not empty: name a directory that does not exist", dir)
	}
	return os.Chmod(dir, 0o700) // #nosec G302 -- a directory
}

// empty removes what newDir's caller has made.
func empty(dir string) error {
	list, err := os.ReadDir(dir)
	for _, e := range list {
		err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
	}
	return errors.Join(err, os.Remove(dir))
}

// snapshot copies a database as it is at one moment.
func snapshot(ctx context.Context, from, to string) error {
	db, err := sqlitefile.ReadOnly(from)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := sqlitefile.Private(to); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}

// open opens the keys as a server does, and says what is in there.
func open(ctx context.Context, dir string) (*Manifest, error) {
	path := filepath.Join(dir, keysFile)
	svc, err := manage.OpenStored(ctx, path, true)
	if err != nil {
		return nil, fmt.Errorf("what was copied cannot be used: %w", err)
	}
	m := &Manifest{Made: time.Now().UTC(), Database: svc.Identity()}
	m.Change, err = svc.LastChange(ctx)
	m.Keys = svc.Active()
	return m, errors.Join(err, svc.Close(), os.Remove(path+"-lock"))
}

// copyFile copies a small file.
func copyFile(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, f)
	return errors.Join(err, out.Sync(), out.Close())
}

// seal has the disk keep a file, and returns its SHA-256.
func seal(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), errors.Join(f.Chmod(0o600), f.Sync())
}

func writeManifest(dir string, m *Manifest) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, manifestFile)
	if err := os.WriteFile(path, append(b, '\n'), 0o600); err != nil {
		return err
	}
	if _, err := seal(path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// Verify reads a backup and compares each file with its manifest.
func Verify(dir string) (*Manifest, error) {
	b, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is no backup, or one that did not come to its end: it has no %s", dir, manifestFile)
	}
	if err != nil {
		return nil, err
	}
	m := new(Manifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, manifestFile), err)
	}
	for _, name := range []string{keysFile, ackedFile} {
		if m.Files[name] == "" {
			return nil, fmt.Errorf("%s names no %s", filepath.Join(dir, manifestFile), name)
		}
	}
	for name, want := range m.Files {
		if !slices.Contains([]string{keysFile, ackedFile, tokenFile, policyFile, logFile}, name) {
			return nil, fmt.Errorf("%s names %q, which no backup has", filepath.Join(dir, manifestFile), name)
		}
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return nil, err
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != want {
			return nil, fmt.Errorf("%s is damaged: its SHA-256 is %s and should be %s", filepath.Join(dir, name), got, want)
		}
	}
	return m, nil
}

// Restore makes a data directory of a backup. Its server is not a fleet's
// management node until it is adopted, also if it was when the backup was made:
// what the fleet was told since would be taken back.
func Restore(ctx context.Context, dir, data string) (_ *Manifest, err error) {
	m, err := Verify(dir)
	if err != nil {
		return nil, err
	}
	switch err := manage.InUse(ctx, filepath.Join(data, keysFile)); {
	case errors.Is(err, manage.ErrLocked):
		return nil, fmt.Errorf("a server runs on %s: stop it, and move the directory away", data)
	case err != nil:
		return nil, err
	}
	if err := newDir(data); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, empty(data))
		}
	}()
	for name := range m.Files {
		if err := copyFile(filepath.Join(dir, name), filepath.Join(data, name)); err != nil {
			return nil, err
		}
	}
	// What is there is what is meant: the file that says so is made anew.
	svc, err := manage.OpenStored(ctx, filepath.Join(data, keysFile), true)
	if err != nil {
		return nil, err
	}
	reason := fmt.Sprintf("This database was restored from a backup of %s UTC.", m.Made.UTC().Format("2006-01-02 15:04:05"))
	if err := errors.Join(svc.FenceAll(ctx, reason), svc.Close(), syncDir(data)); err != nil {
		return nil, err
	}
	return m, nil
}
