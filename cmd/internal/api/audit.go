package api

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// An auditView is an audit record in answers.
type auditView struct {
	ID        int64              `json:"id"`
	Time      time.Time          `json:"time"`
	Actor     string             `json:"actor"`
	Address   *netip.Addr        `json:"address"`
	Action    manage.Action      `json:"action"`
	KeyID     string             `json:"key_id"`
	KeyName   string             `json:"key_name"`
	Confirmed bool               `json:"confirmed_lockout"`
	Before    *manage.AuditState `json:"before"`
	After     *manage.AuditState `json:"after"`
}

func viewAudit(rec *manage.AuditRecord) auditView {
	return auditView{
		ID:        rec.ID,
		Time:      rec.Time.UTC(),
		Actor:     rec.Actor,
		Address:   address(rec.Addr),
		Action:    rec.Action,
		KeyID:     rec.KeyID,
		KeyName:   rec.KeyName,
		Confirmed: rec.Confirmed,
		Before:    rec.Before,
		After:     rec.After,
	}
}

// address returns nil, which is null in JSON, for the zero Addr.
func address(a netip.Addr) *netip.Addr {
	if !a.IsValid() {
		return nil
	}
	return &a
}

func (h *handler) listAudit(w http.ResponseWriter, r *http.Request) error {
	q := parseQuery(r, "key", "limit", "cursor")
	aq := manage.AuditQuery{
		KeyID:  q.key("key"),
		Limit:  q.number("limit", manage.MaxLimit),
		Cursor: q.text("cursor"),
	}
	if q.err != nil {
		return q.err
	}
	page, err := h.manager.Audit(r.Context(), aq)
	if err != nil {
		return err
	}
	views := make([]auditView, len(page.Records))
	for i := range page.Records {
		views[i] = viewAudit(&page.Records[i])
	}
	writeJSON(w, http.StatusOK, struct {
		Records []auditView `json:"records"`
		Next    string      `json:"next"`
	}{views, page.Next})
	return nil
}
