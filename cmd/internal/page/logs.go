package page

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/logstore"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/usagelog"
)

// Logs is the usage log as the page reads it: a *logstore.Store is one.
type Logs interface {
	Query(ctx context.Context, q usagelog.Query) (usagelog.Page, error)
	Stream(ctx context.Context, f usagelog.Filter) iter.Seq2[usagelog.Record, error]
	Chart(ctx context.Context, f usagelog.Filter, scale logstore.Scale) ([]logstore.Bucket, time.Duration, error)
}

// logsPerPage is how many records a page of the log has.
const logsPerPage = 50

type logsView struct {
	*logFilter
	Keys    []manage.Key // to choose from
	Records []logRow
	Chart   *chart
	Lost    []loss
	Later   bool
	First   string
	Next    string
	CSV     string
	Try     string // what to ask the gateway for
}

// A logRow is a record with what can be done about it.
type logRow struct {
	usagelog.Record
	Name     string // of the key; empty if there is none
	Blocked  bool   // refused by the allowlist
	Reported bool   // served, but a list that is enforced would have refused it
	Allow    string // address of the editor with the client's address added
}

// A loss is a number of requests that the log lacks.
type loss struct {
	Cause string
	Count int64
}

// logs is the usage log.
func (p *Page) logs(w http.ResponseWriter, r *http.Request, s *session) error {
	f, err := p.readFilter(r.Context(), query(r))
	if err != nil {
		return err
	}
	v := logsView{logFilter: f, Try: p.TryURL, Later: r.URL.Query().Get("cursor") != ""}
	known, err := p.Manager.Keys(r.Context(), manage.KeyQuery{})
	if err != nil {
		return err
	}
	v.Keys = known.Keys
	status := http.StatusOK
	if len(f.Faults) > 0 {
		status = http.StatusUnprocessableEntity
	} else {
		list, err := p.Logs.Query(r.Context(), usagelog.Query{Filter: f.filter, Limit: logsPerPage, Cursor: r.URL.Query().Get("cursor")})
		switch {
		case errors.Is(err, usagelog.ErrQuery):
			return manage.ErrCursor // the filter was valid
		case err != nil:
			return err
		}
		if v.Records, err = p.logRows(r.Context(), list.Records); err != nil {
			return err
		}
		if v.Chart, err = p.chart(r.Context(), f); err != nil {
			return err
		}
		q := f.Query()
		v.First, v.CSV = "/logs?"+q.Encode(), "/logs.csv?"+q.Encode()
		if list.Next != "" {
			q.Set("cursor", list.Next)
			v.Next = "/logs?" + q.Encode()
		}
	}
	if p.LogStats != nil {
		for cause, n := range p.LogStats().Lost.All() {
			if n > 0 {
				v.Lost = append(v.Lost, loss{cause.String(), int64(n)})
			}
		}
	}
	p.render(w, r, s, status, "logs", "API usage logs", "logs", v)
	return nil
}

// logRows adds to records what the page knows of their keys.
func (p *Page) logRows(ctx context.Context, records []usagelog.Record) ([]logRow, error) {
	keys := map[string]*manage.Key{}
	rows := make([]logRow, len(records))
	for i, rec := range records {
		key, asked := keys[rec.KeyID]
		if !asked && rec.KeyID != "" {
			switch k, err := p.Manager.Key(ctx, rec.KeyID); {
			case err == nil:
				key = &k
			case !errors.Is(err, manage.ErrNotFound):
				return nil, err
			}
			keys[rec.KeyID] = key
		}
		row := logRow{Record: rec}
		row.Blocked = usagelog.Filter{Outcome: usagelog.Blocked}.Match(&rec)
		row.Reported = usagelog.Filter{Outcome: usagelog.Reported}.Match(&rec)
		if key != nil {
			row.Name = key.Name
			if (row.Blocked || row.Reported) && rec.ClientAddr.IsValid() && key.Active() {
				row.Allow = keyURL(key.ID, "allowlist") + "?add=" + rec.ClientAddr.String()
			}
		}
		rows[i] = row
	}
	return rows, nil
}

// csvTime is how long a browser may take for each part of an export.
const csvTime = 30 * time.Second

// logsCSV is the usage log as a file, of any length.
func (p *Page) logsCSV(w http.ResponseWriter, r *http.Request, s *session) error {
	f, err := p.readFilter(r.Context(), query(r))
	if err != nil {
		return err
	}
	if len(f.Faults) > 0 {
		http.Redirect(w, r, "/logs?"+f.Query().Encode(), http.StatusSeeOther)
		return nil
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="api-usage-`+p.Now().UTC().Format("20060102-150405")+`.csv"`)
	if r.Method == http.MethodHead {
		return nil
	}
	out := &patientWriter{w, http.NewResponseController(w)}
	err = usagelog.WriteCSV(out, p.Logs.Stream(r.Context(), f.filter))
	if err == nil {
		err = out.end()
	}
	if err != nil {
		if r.Context().Err() == nil {
			p.Logger.ErrorContext(r.Context(), "export of the usage log broke off", "error", err)
		}
		// A file that ends early must not look whole: the connection breaks.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// A patientWriter gives each write a time of its own, since the server's for
// the whole answer is too short for a long file.
type patientWriter struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (p *patientWriter) Write(b []byte) (int, error) {
	// A ResponseWriter without deadlines, in tests, needs none.
	if err := p.rc.SetWriteDeadline(time.Now().Add(csvTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return p.w.Write(b)
}

// end sends what is buffered, and takes the limit off the connection, which the
// next request may use.
func (p *patientWriter) end() error {
	if err := p.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	_ = p.rc.SetWriteDeadline(time.Time{})
	return nil
}
