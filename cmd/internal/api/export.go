package api

import (
	"iter"
	"net/http"
	"time"

	"github.com/ipallow/ipallow/usagelog"
)

const exportPath = "/api/v1/logs.csv"

// exportStall is how long a client of the export may leave a write waiting.
const exportStall = 30 * time.Second

// exportLogs streams the records that match as CSV, however many there are.
// An export that fails on the way is cut off so that the client sees it: the
// connection breaks before the end of the body is marked.
func (h *handler) exportLogs(w http.ResponseWriter, r *http.Request) error {
	q := parseQuery(r, filterNames...)
	filter := q.filter()
	if q.err != nil {
		return q.err
	}
	out := &export{w: w, control: http.NewResponseController(w), stall: h.stall}
	if r.Method == http.MethodHead { // which must not read the whole log
		out.begin()
		return nil
	}
	err := usagelog.WriteCSV(out, out.watch(h.logs.Stream(r.Context(), filter)))
	if err == nil || !out.begun {
		return err
	}
	id := w.Header().Get("X-Request-Id")
	if out.fault != nil && r.Context().Err() == nil {
		h.logger.ErrorContext(r.Context(), "the export of the usage log broke off", "request_id", id, "error", err)
	} else {
		h.logger.InfoContext(r.Context(), "the client of an export did not take it to its end", "request_id", id, "error", err)
	}
	panic(http.ErrAbortHandler)
}

// An export writes a CSV file to a client. The header is held back until the
// first rows are there, so that a store which fails at once gets its own
// status.
type export struct {
	w       http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	begun   bool
	fault   error // of the store
}

// watch notes an error of seq on its way to the writer of the file.
func (e *export) watch(seq iter.Seq2[usagelog.Record, error]) iter.Seq2[usagelog.Record, error] {
	return func(yield func(usagelog.Record, error) bool) {
		for rec, err := range seq {
			if err != nil {
				e.fault = err
			}
			if !yield(rec, err) {
				return
			}
		}
	}
}

func (e *export) begin() {
	e.begun = true
	head := e.w.Header()
	head.Set("Content-Type", "text/csv; charset=utf-8; header=present")
	head.Set("Content-Disposition", `attachment; filename="ipallow-logs-`+time.Now().UTC().Format("20060102T150405Z")+`.csv"`)
	e.w.WriteHeader(http.StatusOK)
}

func (e *export) Write(b []byte) (int, error) {
	if !e.begun {
		if e.fault != nil {
			return 0, e.fault
		}
		e.begin()
	}
	// The server's own limit would end a long export, and no limit would let a
	// client hold it for ever. A writer that knows no deadlines goes without.
	// The server takes this one away before the connection's next request.
	_ = e.control.SetWriteDeadline(time.Now().Add(e.stall))
	return e.w.Write(b)
}
