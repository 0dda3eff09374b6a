package page

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// auditPerPage is how many changes a page of the audit trail has.
const auditPerPage = 30

// maxChanges bounds how many entries of one change are shown.
const maxChanges = 100

type auditView struct {
	KeyID   string
	Key     *manage.Key // whose changes these are; nil: of all
	Records []auditRow
	Later   bool
	First   string
	Next    string
}

// An auditRow is a change, told in words.
type auditRow struct {
	manage.AuditRecord
	What   string
	Fields []fieldChange
	Lists  []change // entries that differ
	More   int      // entries that differ and are not shown
	Kept   int      // entries that are the same
	Opened bool     // the last entry was removed
}

// A fieldChange is a field before and after.
type fieldChange struct{ Name, Before, After string }

// audit is the audit trail.
func (p *Page) audit(w http.ResponseWriter, r *http.Request, s *session) error {
	q := query(r)
	v := auditView{KeyID: strings.TrimSpace(q.Get("key")), Later: q.Get("cursor") != ""}
	address := url.Values{}
	if v.KeyID != "" {
		key, err := p.Manager.Key(r.Context(), v.KeyID)
		if err != nil {
			return err
		}
		v.Key = &key
		address.Set("key", key.ID)
	}
	list, err := p.Manager.Audit(r.Context(), manage.AuditQuery{KeyID: v.KeyID, Limit: auditPerPage, Cursor: q.Get("cursor")})
	if err != nil {
		return err
	}
	for _, rec := range list.Records {
		v.Records = append(v.Records, tellChange(rec))
	}
	v.First = "/audit?" + address.Encode()
	if list.Next != "" {
		address.Set("cursor", list.Next)
		v.Next = "/audit?" + address.Encode()
	}
	p.render(w, r, s, http.StatusOK, "audit", "Audit trail", "audit", v)
	return nil
}

var actionWords = map[manage.Action]string{
	manage.ActionCreate: "Key created",
	manage.ActionEdit:   "Key edited",
	manage.ActionRotate: "Secret rotated",
	manage.ActionRevoke: "Key revoked",
	manage.ActionList:   "Allowlist changed",
	manage.ActionNode:   "Node removed",
}

// who puts an actor into words.
func who(actor string) string {
	switch actor {
	case "page":
		return "the settings page"
	case "token":
		return "the API"
	}
	return visible(actor)
}

// tellChange puts a record into words.
func tellChange(rec manage.AuditRecord) auditRow {
	row := auditRow{AuditRecord: rec, What: actionWords[rec.Action]}
	if row.What == "" {
		row.What = string(rec.Action)
	}
	before, after := rec.Before, rec.After
	if after == nil {
		return row
	}
	if before == nil {
		before = &manage.AuditState{}
	}
	field := func(name, was, is string) {
		if was != is {
			row.Fields = append(row.Fields, fieldChange{name, was, is})
		}
	}
	switch {
	case rec.Before != nil:
		field("Name", before.Name, after.Name)
		field("Enforcement", enforcement(before), enforcement(after))
	case after.ReportOnly: // of a new key, what is not usual
		field("Enforcement", "", enforcement(after))
	}
	field("Description", before.Description, after.Description)
	field("Scopes", strings.Join(before.Scopes, ", "), strings.Join(after.Scopes, ", "))
	all := diff(before.Allowlist, after.Allowlist)
	row.Lists = slices.DeleteFunc(all, func(c change) bool { return c.Kind == kept })
	row.Kept = len(all) - len(row.Lists)
	if n := len(row.Lists); n > maxChanges {
		row.Lists, row.More = row.Lists[:maxChanges], n-maxChanges
	}
	row.Opened = len(before.Allowlist) > 0 && len(after.Allowlist) == 0
	return row
}

func enforcement(s *manage.AuditState) string {
	if s.ReportOnly {
		return "report only"
	}
	return "enforced"
}
