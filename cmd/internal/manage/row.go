package manage

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/cespare/xxhash/v2"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

// A row is a key and its list as they are stored. Times are in nanoseconds
// since 1970; 0 stands for never.
type row struct {
	id                        string
	hash                      keyring.Hash
	name, description         string
	scopes                    keyring.Scopes
	reportOnly                bool
	created, updated, revoked int64
	lastUsed                  int64 // not stored with the rest
	version                   int64 // counts the changes of the list
	listUpdated               int64
	list                      []ipallow.Entry
	crc                       int64 // its sum, as eachActive has read it
}

const (
	keyColumns = "id, name, description, scopes, report_only, created, updated, revoked, " +
		"coalesce((SELECT at FROM used WHERE used.id = keys.id), 0), entries"
	rowColumns = keyColumns + ", hash, version, list_updated, sum, list"
	selectRow  = "SELECT " + rowColumns + " FROM keys WHERE id = ?"
)

type scanner interface{ Scan(...any) error }

// scanKey reads keyColumns.
func scanKey(sc scanner, more ...any) (k Key, err error) {
	var created, updated, revoked, used int64
	err = sc.Scan(append([]any{&k.ID, &k.Name, &k.Description, &k.Scopes, &k.ReportOnly,
		&created, &updated, &revoked, &used, &k.Entries}, more...)...)
	k.Created, k.Updated, k.Revoked, k.LastUsed = fromNanos(created), fromNanos(updated), fromNanos(revoked), fromNanos(used)
	return k, err
}

// querier is a *sql.DB or a *sql.Tx.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// readRow returns a key with its list, or ErrNotFound.
func readRow(ctx context.Context, q querier, id string) (*row, error) {
	if !keyring.ValidID(id) {
		return nil, ErrNotFound
	}
	r := new(row)
	var hash, list []byte
	var sum int64
	k, err := scanKey(q.QueryRowContext(ctx, selectRow, id),
		&hash, &r.version, &r.listUpdated, &sum, &list)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	r.id, r.name, r.description, r.scopes, r.reportOnly = k.ID, k.Name, k.Description, k.Scopes, k.ReportOnly
	r.created, r.updated, r.revoked, r.lastUsed = nanos(k.Created), nanos(k.Updated), nanos(k.Revoked), nanos(k.LastUsed)
	if err := r.restore(hash, list, sum, k.Entries); err != nil {
		return nil, err
	}
	return r, nil
}

// restore completes a row, all of whose other columns are there, and checks
// that it is what was stored.
func (r *row) restore(hash, list []byte, sum int64, entries int) error {
	err := func() (err error) {
		if !keyring.ValidID(r.id) {
			return errors.New("its identifier is not one")
		}
		if len(hash) != len(r.hash) {
			return errors.New("its hash has another length")
		}
		copy(r.hash[:], hash)
		if want := r.sum(list); sum != want {
			return fmt.Errorf("its sum is %08x and should be %08x", sum, want)
		}
		if r.list, err = parseList(string(list)); err != nil {
			return err
		}
		if len(r.list) != entries {
			return fmt.Errorf("its list has %d entries and should have %d", len(r.list), entries)
		}
		return nil
	}()
	if err != nil {
		return fmt.Errorf("key %q: %w: %w", r.id, err, ErrDamaged)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum covers what decides about requests. SQLite keeps no checksums, and a
// flipped bit in an address or a scope could open a key unseen.
func (r *row) sum(list []byte) int64 {
	b := make([]byte, 0, 128)
	b = append(b, r.id...)
	b = append(b, r.hash[:]...)
	b = append(b, byte(r.scopes), '-')
	if r.reportOnly {
		b[len(b)-1] = 'r'
	}
	b = binary.BigEndian.AppendUint64(b, uint64(r.revoked))
	b = binary.BigEndian.AppendUint64(b, uint64(r.version))
	return int64(crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, list))
}

// digest stands for an active key in changes.total; a revoked one has none.
func (r *row) digest() uint64 {
	if r.revoked != 0 {
		return 0
	}
	return digest(r.id, r.sum(formatList(r.list)))
}

func digest(id string, sum int64) uint64 {
	b := make([]byte, 0, 32)
	return xxhash.Sum64(binary.BigEndian.AppendUint64(append(b, id...), uint64(sum)))
}

// values returns the row's columns in the order of insertRow and updateRow.
func (r *row) values() []any {
	list := formatList(r.list)
	return []any{r.hash[:], r.name, fold(r.name), r.description, r.scopes, r.reportOnly,
		r.created, r.updated, r.revoked, r.version, r.listUpdated, len(r.list), r.sum(list), string(list), r.id}
}

const (
	insertRow = `INSERT INTO keys (hash, name, folded, description, scopes, report_only,
		created, updated, revoked, version, list_updated, entries, sum, list, id)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	updateRow = `UPDATE keys SET hash = ?, name = ?, folded = ?, description = ?, scopes = ?, report_only = ?,
		created = ?, updated = ?, revoked = ?, version = ?, list_updated = ?, entries = ?, sum = ?, list = ?
		WHERE id = ?`
)

// key returns the row as the management shows it.
func (r *row) key() Key {
	return Key{ID: r.id, Name: r.name, Description: r.description, Scopes: r.scopes, ReportOnly: r.reportOnly,
		Created: fromNanos(r.created), Updated: fromNanos(r.updated), Revoked: fromNanos(r.revoked),
		LastUsed: fromNanos(r.lastUsed), Entries: len(r.list)}
}

// allowlist returns the row's list. The version alone would be enough for its
// tag, but for a database that was restored from a backup: then the counter
// goes back.
func (r *row) allowlist() Allowlist {
	sum := crc32.Checksum(formatList(r.list), castagnoli)
	return Allowlist{Entries: slices.Clone(r.list), Updated: fromNanos(r.listUpdated),
		Tag: fmt.Sprintf("%x-%08x", r.version, sum)}
}

// ringKey returns the row as requests are authenticated by it.
func (r *row) ringKey() *keyring.Key {
	return &keyring.Key{ID: r.id, Hash: r.hash, Scopes: r.scopes, ReportOnly: r.reportOnly}
}

// formatList returns a line for each entry: the prefix, and where there is a
// label, a space and the label. No label has control characters.
func formatList(list []ipallow.Entry) []byte {
	var b []byte
	for _, e := range list {
		b = e.Prefix.AppendTo(b)
		if e.Label != "" {
			b = append(b, ' ')
			b = append(b, e.Label...)
		}
		b = append(b, '\n')
	}
	return b
}

// parseList reads what formatList writes.
func parseList(text string) ([]ipallow.Entry, error) {
	var list []ipallow.Entry
	if text != "" {
		list = make([]ipallow.Entry, 0, strings.Count(text, "\n"))
	}
	for text != "" {
		line, rest, ended := strings.Cut(text, "\n")
		if !ended {
			return nil, errors.New("its list breaks off")
		}
		prefix, label, _ := strings.Cut(line, " ")
		p, err := netip.ParsePrefix(prefix)
		if err != nil {
			return nil, fmt.Errorf("its list has an invalid entry: %w", err)
		}
		list = append(list, ipallow.Entry{Prefix: p, Label: label})
		text = rest
	}
	return list, nil
}

// fold makes texts equal that differ only in case.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, s)
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
