package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// settled is how long before a gateway is killed it must have answered a request
// for the request's record to be promised: a record that nobody waits for is in
// memory for some milliseconds before it is in the write-ahead file. The rest is
// for a busy machine.
const settled = 2 * time.Second

// An answer is what a gateway answered to a request.
type answer struct {
	node string
	at   time.Time
}

// A kill is a time in which answers of a gateway may be without a record.
type kill struct {
	node     string
	from, to time.Time
}

// A book keeps count of all requests, and of those that must be in the usage
// log. Its methods may be called from any number of goroutines.
type book struct {
	mu       sync.Mutex
	sent     int
	failed   int               // without an answer
	statuses map[int]int       // answers
	answers  map[string]answer // by request ID, those that have to be in the log
	kills    []kill
	refused  int      // probes that were answered with 403
	probes   int      // requests with a key from an address that was never on its list
	served   []string // probes that were served, which must not be
}

func newBook() *book {
	return &book{statuses: make(map[int]int), answers: make(map[string]answer)}
}

// A tally is a copy of the counts.
type tally struct {
	sent, failed, probes, refused int
	statuses                      map[int]int
	served                        []string
}

func (b *book) tally() tally {
	b.mu.Lock()
	defer b.mu.Unlock()
	return tally{b.sent, b.failed, b.probes, b.refused, maps.Clone(b.statuses), slices.Clone(b.served)}
}

// String lists the answers by status.
func (t tally) String() string {
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(t.statuses)) {
		parts = append(parts, fmt.Sprintf("%s × %d", thousands(t.statuses[status]), status))
	}
	return strings.Join(parts, ", ")
}

// killed says that a gateway is killed now, and restarted that it begins anew.
func (b *book) killed(node string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kills = append(b.kills, kill{node: node, from: time.Now().Add(-settled)})
}

func (b *book) restarted(node string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.kills {
		if k := &b.kills[i]; k.node == node && k.to.IsZero() {
			k.to = time.Now()
		}
	}
}

// due returns the requests that were answered: true for those that must be in
// the log, false for those that need not be.
func (b *book) due() (ids map[string]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ids = make(map[string]bool, len(b.answers))
	for id, a := range b.answers {
		ids[id] = !slices.ContainsFunc(b.kills, func(k kill) bool {
			return k.node == a.node && a.at.After(k.from) && (k.to.IsZero() || a.at.Before(k.to))
		})
	}
	return ids
}

// A caller makes requests with keys.
type caller struct {
	http *http.Client
	book *book
}

func newCaller(b *book) *caller {
	return &caller{book: b, http: &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
	}}
}

// ping makes a request through a gateway as a client with this address. A probe
// is one that must never be served.
func (c *caller) ping(ctx context.Context, gateway *daemon, secret, client string, probe bool) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, gateway.url("gateway")+"/v1/ping", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("X-Forwarded-For", client)
	resp, err := c.http.Do(req)
	if err == nil {
		err = resp.Body.Close()
	}
	b := c.book
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent++
	if probe {
		b.probes++
	}
	if err != nil {
		b.failed++
		return 0, err
	}
	b.statuses[resp.StatusCode]++
	if probe && resp.StatusCode == http.StatusForbidden {
		b.refused++
	}
	if probe && resp.StatusCode < 300 {
		b.served = append(b.served, fmt.Sprintf("%s at %s, request %s", gateway.name, time.Now().Format(time.TimeOnly), resp.Header.Get("X-Request-Id")))
	}
	if id := resp.Header.Get("X-Request-Id"); id != "" {
		b.answers[id] = answer{gateway.name, time.Now()}
	} else {
		b.served = append(b.served, fmt.Sprintf("%s answered %d without a request ID", gateway.name, resp.StatusCode))
	}
	return resp.StatusCode, nil
}

// A reckoning compares the answers with the usage log.
type reckoning struct {
	records int // in the log
	due     int // answers that have to be in it
	missing int
	twice   int
	excused int // answers so shortly before a kill that they need not be in it
	lost    int // those of them that are not
}

func (r reckoning) err() error {
	if r.missing > 0 || r.twice > 0 {
		return fmt.Errorf("of %d answers, %d are not in the usage log of %d records, and %d records are there more than once", r.due, r.missing, r.records, r.twice)
	}
	return nil
}

// reckon waits until every answer has its record, and returns how it stands.
func (b *book) reckon(ctx context.Context, m *manager) (r reckoning, err error) {
	due := b.due()
	err = poll(ctx, 200*time.Millisecond, "the usage records", func() error {
		ids, err := m.records(ctx)
		if err != nil {
			return err
		}
		r = compare(due, ids)
		return r.err()
	})
	return r, err
}

// compare counts. records has how often each request is in the log.
func compare(due map[string]bool, records map[string]int) (r reckoning) {
	for _, n := range records {
		r.records += n
		r.twice += n - 1
	}
	for id, must := range due {
		switch {
		case must && records[id] == 0:
			r.missing++
			r.due++
		case must:
			r.due++
		case records[id] == 0:
			r.lost++
			r.excused++
		default:
			r.excused++
		}
	}
	return r
}
