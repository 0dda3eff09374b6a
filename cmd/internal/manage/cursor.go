package manage

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

// A keyCursor is where a page of keys begins: after the key with this ID, or,
// back, with the page before it. The cursor of a page of the audit trail is the
// number of its last record.
type keyCursor struct {
	id   string
	back bool
}

const backMark = "-"

func (c keyCursor) String() string {
	if c.back {
		return backMark + c.id
	}
	return c.id
}

func parseKeyCursor(s string) (c keyCursor, err error) {
	c.id, c.back = strings.CutPrefix(s, backMark)
	if !keyring.ValidID(c.id) {
		return keyCursor{}, ErrCursor
	}
	return c, nil
}

func auditCursor(id int64) string { return fmt.Sprintf("%016x", uint64(id)) }

func parseAuditCursor(s string) (int64, error) { return parseHex(s) }

// parseHex reads 16 lower-case digits and nothing else.
func parseHex(s string) (int64, error) {
	if len(s) != 16 {
		return 0, ErrCursor
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return 0, ErrCursor
		}
	}
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return 0, ErrCursor
	}
	return int64(n), nil
}
