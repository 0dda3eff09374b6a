package page

import (
	"context"
	"encoding/csv"
	"errors"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/usagelog"
)

func TestExport(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	id := r.create("Billing").Key.ID
	formula := served(id)
	formula.Path, formula.Method = "=cmd|'/c calc'!A0", "+GET"
	r.add(served(id), formula, blocked(id, "2001:db8::7"))
	a := b.get("/logs.csv?key=" + id)
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Equal(t, "text/csv; charset=utf-8", a.Header.Get("Content-Type"))
	require.Equal(t, `attachment; filename="api-usage-20261124-150000.csv"`, a.Header.Get("Content-Disposition"))
	var want strings.Builder
	require.NoError(t, usagelog.WriteCSV(&want, r.logs.Stream(t.Context(), usagelog.Filter{KeyID: id})))
	require.Equal(t, want.String(), a.body)
	require.Contains(t, a.body, "'=cmd")
	require.Equal(t, http.StatusOK, b.do(r.request(http.MethodHead, "/logs.csv", nil)).StatusCode)
	require.Equal(t, "/logs", b.get("/logs.csv?status=nonsense").Request.URL.Path, "a faulty filter is shown on the page")
}

// brokenLogs fails in the middle of a file.
type brokenLogs struct{ Logs }

func (brokenLogs) Stream(context.Context, usagelog.Filter) iter.Seq2[usagelog.Record, error] {
	return func(yield func(usagelog.Record, error) bool) {
		for range 5000 {
			if !yield(served("aaaaaaaaaaaaaaaa"), nil) {
				return
			}
		}
		yield(usagelog.Record{}, errors.New("disk on fire"))
	}
}

func TestExportThatBreaksOff(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	r.page.Logs = brokenLogs{r.logs}
	res, err := b.client.Do(r.request(http.MethodGet, "/logs.csv", nil))
	require.NoError(t, err)
	defer res.Body.Close()
	_, err = csv.NewReader(res.Body).ReadAll()
	require.Error(t, err, "half a file must not look whole")
	require.Contains(t, r.log.String(), "disk on fire")
}

// TestLogFails: a log that cannot be read is said to be so.
type deadLogs struct{ Logs }

func (deadLogs) Query(context.Context, usagelog.Query) (usagelog.Page, error) {
	return usagelog.Page{}, errors.New("disk on fire")
}

func TestLogThatCannotBeRead(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	r.page.Logs = deadLogs{r.logs}
	a := b.get("/logs")
	require.Equal(t, http.StatusInternalServerError, a.StatusCode)
	require.NotContains(t, a.body, "disk on fire")
	require.Contains(t, r.log.String(), "disk on fire")
}

func TestLostRecordsAreShown(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	r.page.LogStats = func() (s usagelog.Stats) {
		s.Lost[usagelog.QueueFull] = 12345
		return s
	}
	require.Contains(t, b.get("/logs").body, "12,345 requests could not be recorded since the server started (queue_full)")
}

// TestWithoutDeadlines: a ResponseWriter that has none can be written to.
func TestWithoutDeadlines(t *testing.T) {
	rec := httptest.NewRecorder()
	n, err := (&patientWriter{rec, http.NewResponseController(rec)}).Write([]byte("x"))
	require.NoError(t, err)
	require.Equal(t, 1, n)
}
