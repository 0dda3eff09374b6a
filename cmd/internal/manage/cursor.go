package manage

import (
	"fmt"
	"strconv"

	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

// The cursor of a page of keys is where its last one stands: the time it was
// created as 16 hexadecimal digits, and its identifier. That of a page of the
// audit trail is the number of its last record.

func keyCursor(created int64, id string) string { return fmt.Sprintf("%016x%s", uint64(created), id) }

func parseKeyCursor(s string) (created int64, id string, err error) {
	if len(s) != 16+keyring.IDLen || !keyring.ValidID(s[16:]) {
		return 0, "", ErrCursor
	}
	n, err := parseHex(s[:16])
	return n, s[16:], err
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
