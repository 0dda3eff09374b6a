package manage

import (
	"context"
	"database/sql/driver"
	"net/netip"
	"slices"
	"strings"

	"github.com/ipallow/ipallow/cmd/internal/canon"
	"modernc.org/sqlite"
)

// Functions that SQLite calls for the lists and texts of keys.
func init() {
	texts := func(args []driver.Value) (a, b string) {
		a, _ = args[0].(string)
		if len(args) > 1 {
			b, _ = args[1].(string)
		}
		return a, b
	}
	register := func(name string, n int32, f func(a, b string) bool) {
		sqlite.MustRegisterDeterministicScalarFunction(name, n, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
			if f(texts(args)) {
				return int64(1), nil
			}
			return int64(0), nil
		})
	}
	// A NUL ends what SQLite hands over, and no stored text has one.
	register("key_has_text", 2, func(text, folded string) bool { return folded != "" && strings.Contains(fold(text), folded) })
	register("list_allows", 2, func(list, network string) bool {
		want, err := netip.ParsePrefix(network)
		return err == nil && anyPrefix(list, func(p netip.Prefix) bool {
			return p.Bits() <= want.Bits() && p.Contains(want.Addr())
		})
	})
	register("list_is_broad", 1, func(list, _ string) bool {
		return anyPrefix(list, func(p netip.Prefix) bool {
			return p.Addr().Is4() && p.Bits() < BroadBits4 || p.Addr().Is6() && p.Bits() < BroadBits6
		})
	})
}

// anyPrefix reports whether f is true of an entry of a stored list. What cannot
// be read is passed over: damage is told of elsewhere.
func anyPrefix(list string, f func(netip.Prefix) bool) bool {
	for line := range strings.Lines(list) {
		text, _, _ := strings.Cut(line, " ")
		if p, err := netip.ParsePrefix(strings.TrimSuffix(text, "\n")); err == nil && f(p) {
			return true
		}
	}
	return false
}

// lastUse is when a key was used last, as it is stored; 0 for never.
const lastUse = "coalesce((SELECT at FROM used WHERE used.id = keys.id), 0)"

// An ordering is how pages follow each other: by a column, and by ID where that
// is equal. A cursor names the key at the end of a page, whose column is looked
// up again: keys are never deleted.
type ordering struct {
	column     string
	descending bool
}

var orderings = [...]ordering{
	NewestFirst:   {"created", true},
	ByName:        {"folded", false},
	LastUsedFirst: {lastUse, true},
}

// Keys returns a page of keys. A search looks at all keys until the page is
// full, and the total at all of them, or until MaxCounted are found; with a
// million keys that takes a second or two.
func (s *Service) Keys(ctx context.Context, q KeyQuery) (KeyPage, error) {
	db, err := s.read()
	if err != nil {
		return KeyPage{}, err
	}
	limit := pageSize(q.Limit)
	where, args := s.conditions(&q)
	page := KeyPage{Keys: []Key{}}
	all := strings.Join(where, " AND ")
	err = db.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM keys WHERE "+all+" LIMIT ?)",
		append(slices.Clone(args), MaxCounted)...).Scan(&page.Total)
	if err != nil {
		return KeyPage{}, err
	}

	o := orderings[min(q.Order, LastUsedFirst)]
	var c keyCursor
	if q.Cursor != "" {
		if c, err = parseKeyCursor(q.Cursor); err != nil {
			return KeyPage{}, err
		}
	}
	descending := o.descending != c.back
	direction, compare := "ASC", ">"
	if descending {
		direction, compare = "DESC", "<"
	}
	if q.Cursor != "" {
		all += " AND (" + o.column + ", id) " + compare + " (SELECT " + o.column + ", id FROM keys WHERE id = ?)"
		args = append(args, c.id)
	}
	rows, err := db.QueryContext(ctx, "SELECT "+keyColumns+" FROM keys WHERE "+all+
		" ORDER BY "+o.column+" "+direction+", id "+direction+" LIMIT ?", append(args, limit+1)...)
	if err != nil {
		return KeyPage{}, err
	}
	defer rows.Close()
	for rows.Next() {
		k, err := scanKey(rows)
		if err != nil {
			return KeyPage{}, err
		}
		s.freshen(&k)
		page.Keys = append(page.Keys, k)
	}
	if err := rows.Err(); err != nil {
		return KeyPage{}, err
	}
	more := len(page.Keys) > limit
	page.Keys = page.Keys[:min(len(page.Keys), limit)]
	if c.back {
		slices.Reverse(page.Keys)
	}
	if len(page.Keys) == 0 {
		return page, nil
	}
	if more || c.back {
		page.Next = keyCursor{id: page.Keys[len(page.Keys)-1].ID}.String()
	}
	if c.back && more || !c.back && q.Cursor != "" {
		page.Previous = keyCursor{page.Keys[0].ID, true}.String()
	}
	return page, nil
}

// conditions returns what a key has to meet, apart from where the page begins.
func (s *Service) conditions(q *KeyQuery) (where []string, args []any) {
	where = []string{"1"}
	if !q.Revoked {
		where = append(where, "revoked = 0")
	}
	if q.Restricted != nil {
		where = append(where, map[bool]string{true: "entries > 0", false: "entries = 0"}[*q.Restricted])
	}
	if q.Unused {
		where = append(where, lastUse+" < ?")
		args = append(args, nanos(s.now().Add(-UnusedFor)))
	}
	if q.Broad {
		where = append(where, "list_is_broad(list)")
	}
	search := strings.TrimSpace(q.Search)
	if search == "" {
		return where, args
	}
	any := "instr(folded, ?) OR instr(id, ?) OR key_has_text(description, ?) OR key_has_text(list, ?)"
	folded := fold(search)
	args = append(args, folded, strings.ToLower(search), folded, folded)
	if p, ok := network(search); ok {
		any += " OR list_allows(list, ?)"
		args = append(args, p.String())
	}
	return append(where, "("+any+")"), args
}

// network returns the network that the text is, or that of a single address.
func network(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = canon.Addr(a)
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	return p, err == nil
}
