package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ipallow/ipallow/natsfeed"
)

// A Role is what a node is in its fleet.
type Role string

// The roles.
const (
	Gateway    Role = "gateway"
	Management Role = "management"
)

// A Report is what a node says of itself. Its times are of the node's own clock,
// which may be wrong, and are shown and never compared.
type Report struct {
	Name      string    `json:"name"`
	Role      Role      `json:"role"`
	Instance  string    `json:"instance"` // another one after each start
	Version   string    `json:"version"`  // of the program
	Started   time.Time `json:"started_at"`
	Listen    string    `json:"listen"`                // where the gateway is
	Revision  uint64    `json:"revision"`              // of the bucket of keys, in force
	Bucket    time.Time `json:"bucket"`                // when that bucket was created; zero: not known
	Confirm   uint64    `json:"confirm,omitempty"`     // natsfeed.Status.Confirmed; 0 of a version that does not tell
	Confirmed time.Time `json:"confirmed_at,omitzero"` // natsfeed.Status.ConfirmedAt
	Staleness *int64    `json:"staleness_ms"`          // nil: not known
	Source    string    `json:"source"`                // of keys and lists: "bucket", "checkpoint", "none"; "database" of the management
	Connected bool      `json:"connected"`
	Ready     bool      `json:"ready"`
	Reason    string    `json:"reason"`        // why it is not ready
	Keys      int       `json:"keys"`          // that are known
	Limited   int       `json:"restricted"`    // of these, keys with an allowlist
	Backlog   uint64    `json:"usage_backlog"` // usage records that are still there
	Faults    int       `json:"faults"`        // keys whose value is not in force as it is
	Faulty    []Fault   `json:"faulty"`        // some of them
	Missing   int       `json:"missing"`       // keys that have disappeared from the bucket and are kept
	Time      time.Time `json:"time"`
	Left      bool      `json:"left,omitempty"` // it has stopped, and serves nobody: Reporter.Leave

	// OwnAccount says that the gateway follows with a consumer that the
	// management makes for it.
	OwnAccount bool `json:"own_account,omitempty"`
}

const (
	reportLook  = 50 * time.Millisecond  // how often a node looks whether there is news
	reportEvery = 250 * time.Millisecond // while something changes
	reportIdle  = 5 * time.Second        // otherwise
	reportBytes = 16 << 10               // of the longest one that is read
	reasonBytes = 300
	maxFaulty   = 10 // faults that a report names
)

// NameFaults puts the faults of a node into its report, as many as fit.
func (r *Report) NameFaults(n int, named []Fault) {
	r.Faults = n
	for _, f := range named[:min(len(named), maxFaulty)] {
		f.Key, f.Reason = strings.ToValidUTF8(cut(f.Key, 64), ""), strings.ToValidUTF8(cut(f.Reason, reasonBytes), "")
		r.Faulty = append(r.Faulty, f)
	}
}

// Reason returns the text of an error for Report.Reason.
func Reason(err error) string {
	if err == nil {
		return ""
	}
	return strings.ToValidUTF8(cut(err.Error(), reasonBytes), "")
}

func cut(s string, n int) string { return s[:min(len(s), n)] }

// Millis returns a duration as Report.Staleness has it.
func Millis(d time.Duration) *int64 {
	if d < 0 {
		return nil
	}
	ms := d.Milliseconds()
	return &ms
}

// name is what the report has in the bucket of nodes.
func (r *Report) key() (string, error) {
	name, err := natsfeed.KeyName(r.Name)
	return string(r.Role) + "." + name, err
}

// news reports whether the report says something else than the last one.
func (r *Report) news(last *Report) bool {
	return last == nil || r.Revision != last.Revision || !r.Bucket.Equal(last.Bucket) || r.Confirm != last.Confirm || !r.Confirmed.Equal(last.Confirmed) || r.Ready != last.Ready || r.Reason != last.Reason ||
		r.Source != last.Source || r.Keys != last.Keys || r.Limited != last.Limited || r.Faults != last.Faults ||
		r.Missing != last.Missing || (r.Backlog == 0) != (last.Backlog == 0)
}

// parseReport reads what a node has sent.
func parseReport(key string, data []byte) (Report, error) {
	var r Report
	if len(data) > reportBytes {
		return r, fmt.Errorf("the report of %.80q has %d bytes", key, len(data))
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("the report of %.80q: %w", key, err)
	}
	if want, err := r.key(); err != nil || want != key || r.Role != Gateway && r.Role != Management {
		return r, fmt.Errorf("the report of %.80q is that of another node", key)
	}
	if y := r.Started.UTC().Year(); y < 0 || y > 9999 {
		return r, fmt.Errorf("the report of %.80q has a time of the year %d", key, y)
	}
	r.Reason, r.Version, r.Listen, r.Source, r.Instance = cut(r.Reason, reasonBytes), cut(r.Version, 100), cut(r.Listen, 100), cut(r.Source, 20), cut(r.Instance, 40)
	faulty := r.Faulty
	r.Faulty = nil
	r.NameFaults(r.Faults, faulty)
	return r, nil
}

// A Reporter tells the fleet how a node is.
type Reporter struct {
	link   *Link
	create bool
	report func() Report
	loop   loop
}

// NewReporter begins to report. The management makes the bucket that is needed.
func NewReporter(link *Link, report func() Report) *Reporter {
	r := &Reporter{link: link, create: report().Role == Management, report: report}
	r.loop = loop{link: link, name: "reporting", session: r.session, note: func(error) {}}
	r.loop.start()
	return r
}

// Close ends reporting. The node stays on the list.
func (r *Reporter) Close() { r.loop.close() }

// leaveWait is how long a node that ends waits for its last report to be stored.
const leaveWait = time.Second

// Leave ends reporting, and takes the node off the list, for it serves nobody any
// more. After an error it stays there, and changes wait for it by name.
func (r *Reporter) Leave(ctx context.Context) error {
	r.loop.close()
	if !r.link.Connected() {
		return errNotConnected
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWait)
	defer cancel()
	last := r.report()
	last.Left = true
	return r.send(ctx, &last)
}

// send stores a report. It is not done by jetstream.KeyValue, for which a node needs
// the right to look the bucket up, and with it the names of the other nodes.
func (r *Reporter) send(ctx context.Context, rep *Report) error {
	key, err := rep.key()
	if err != nil {
		return err
	}
	rep.OwnAccount = r.link.cfg.Gateway != ""
	data, err := json.Marshal(rep)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err = r.link.js.Publish(ctx, r.link.cfg.nodesSubject(key), data, jetstream.WithExpectStream("KV_"+r.link.cfg.nodesBucket()))
	return err
}

func (r *Reporter) session(ctx context.Context) error {
	if r.create {
		rctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
		_, err := r.link.openNodes(rctx)
		cancel()
		if err != nil {
			return err
		}
	}
	tick := time.NewTicker(reportLook)
	defer tick.Stop()
	var last *Report
	var sent time.Time
	for {
		since := time.Since(sent)
		if now := r.report(); now.news(last) && since >= reportEvery || since >= reportIdle {
			if err := r.send(ctx, &now); err != nil {
				return err
			}
			last, sent = &now, time.Now()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// errSilent says that not even this node's own reports come back.
var errSilent = errors.New("no report has come for a while")
