package api

import (
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/usagelog"
)

// A logView is a request in answers.
type logView struct {
	Time       time.Time       `json:"time"`
	RequestID  string          `json:"request_id"`
	KeyID      string          `json:"key_id"` // empty: no key was recognised
	Method     string          `json:"method"`
	Path       string          `json:"path"`
	Status     int             `json:"status"` // 0: none
	Address    *netip.Addr     `json:"address"`
	Verdict    ipallow.Verdict `json:"verdict"`
	Entry      *netip.Prefix   `json:"entry"` // that let the address in
	Label      string          `json:"label"` // of the entry
	List       string          `json:"list"`  // that has the entry; empty: the key's own
	Blocked    bool            `json:"blocked"`
	DurationMS float64         `json:"duration_ms"`
	Requests   int64           `json:"requests"` // that it stands for
}

func viewLog(rec *usagelog.Record) logView {
	v := logView{
		Time:       rec.Time.UTC(),
		RequestID:  rec.RequestID,
		KeyID:      rec.KeyID,
		Method:     rec.Method,
		Path:       rec.Path,
		Status:     rec.Status,
		Address:    address(rec.ClientAddr),
		Verdict:    rec.Verdict,
		Label:      rec.Label,
		List:       rec.List,
		Blocked:    blocked(rec),
		DurationMS: float64(rec.Duration) / float64(time.Millisecond),
		Requests:   rec.Requests(),
	}
	if rec.Entry.IsValid() {
		v.Entry = &rec.Entry
	}
	return v
}

// blocked reports whether the allowlist refused the request, as a
// logstore.Bucket counts it. A report-only key is served whatever the verdict.
func blocked(rec *usagelog.Record) bool {
	return rec.Status == http.StatusForbidden && rec.Verdict == ipallow.Denied
}

func (h *handler) listLogs(w http.ResponseWriter, r *http.Request) error {
	q := parseQuery(r, append(slices.Clone(filterNames), "limit", "cursor")...)
	uq := usagelog.Query{
		Filter: q.filter(),
		Limit:  q.number("limit", usagelog.MaxLimit),
		Cursor: q.text("cursor"),
	}
	if q.err != nil {
		return q.err
	}
	page, err := h.logs.Query(r.Context(), uq)
	if err != nil {
		return err
	}
	views := make([]logView, len(page.Records))
	for i := range page.Records {
		views[i] = viewLog(&page.Records[i])
	}
	writeJSON(w, http.StatusOK, struct {
		Records []logView `json:"records"`
		Next    string    `json:"next"`
	}{views, page.Next})
	return nil
}
