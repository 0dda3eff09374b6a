package fleet

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A FeedCollector shows a gateway's feed in its metrics.
type FeedCollector struct {
	Follower *Follower
	MaxStale time.Duration // of ipallowd_feed_ready
}

func desc(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }

var (
	feedRevision   = desc("ipallowd_feed_revision", "Revision of the bucket of keys up to which everything is in force.")
	feedLag        = desc("ipallowd_feed_lag", "Revisions of the bucket that are known of and not in force.")
	feedStale      = desc("ipallowd_feed_staleness_seconds", "Every change that was made before that time is in force; NaN: not known.")
	feedConnected  = desc("ipallowd_feed_connected", "1 while there is a connection to NATS.")
	feedReady      = desc("ipallowd_feed_ready", "1 while the node should get requests.")
	feedRefusing   = desc("ipallowd_feed_refusing", "1 while requests are refused because what is known is older than --refuse-stale.")
	feedFaults     = desc("ipallowd_feed_faults", "Keys whose last value cannot be used as it is; /readyz names some.")
	feedFaultsAll  = desc("ipallowd_feed_faults_total", "Values that could not be used.")
	feedMissing    = desc("ipallowd_feed_missing_keys", "Keys that have disappeared from the bucket and are kept.")
	feedLoads      = desc("ipallowd_feed_loads_total", "Times that the whole bucket was loaded.")
	feedSessions   = desc("ipallowd_feed_sessions_total", "Times that following was begun anew.")
	feedChanges    = desc("ipallowd_feed_changes_total", "Changes that were put into force, loads not counted.")
	feedCheckpoint = desc("ipallowd_feed_checkpoint_revision", "Revision that the checkpoint file holds; 0: none.")
)

// Describe implements prometheus.Collector.
func (c FeedCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c FeedCollector) Collect(ch chan<- prometheus.Metric) {
	st := c.Follower.Status()
	now, total, _ := c.Follower.Faults()
	gauge, counter := emitters(ch)
	stale := math.NaN()
	if st.Staleness >= 0 {
		stale = st.Staleness.Seconds()
	}
	gauge(feedRevision, float64(st.Revision))
	gauge(feedLag, float64(st.Lag))
	gauge(feedStale, stale)
	gauge(feedConnected, truth(st.Connection == connected))
	gauge(feedReady, truth(c.Follower.Ready(c.MaxStale) == nil))
	gauge(feedRefusing, truth(c.Follower.Loaded() && !c.Follower.Usable()))
	gauge(feedFaults, float64(now))
	counter(feedFaultsAll, float64(total))
	gauge(feedMissing, float64(st.Missing))
	counter(feedLoads, float64(st.Loads))
	counter(feedSessions, float64(st.Sessions))
	counter(feedChanges, float64(st.Applied))
	gauge(feedCheckpoint, float64(st.Checkpoint))
}

// connected is natsfeed.Status.Connection while there is one.
const connected = "CONNECTED"

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

type emitter func(*prometheus.Desc, float64)

func emitters(ch chan<- prometheus.Metric) (gauge, counter emitter) {
	of := func(t prometheus.ValueType) emitter {
		return func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, t, v) }
	}
	return of(prometheus.GaugeValue), of(prometheus.CounterValue)
}

// A CenterCollector shows a management node's fleet in its metrics.
type CenterCollector struct{ Center *Center }

var (
	centerConnected  = desc("ipallowd_fleet_connected", "1 while there is a connection to NATS.")
	centerInStep     = desc("ipallowd_fleet_in_step", "1 while NATS is connected and the bucket of keys has what the database has, but for changes of the last 5 s.")
	centerRevision   = desc("ipallowd_fleet_revision", "The newest revision of the bucket of keys.")
	centerLag        = desc("ipallowd_fleet_lag", "Changes that the gateway furthest behind has not got, those included that are not published yet.")
	centerRivals     = desc("ipallowd_fleet_rivals", "Other management nodes of the same fleet; there should be none.")
	centerEpoch      = desc("ipallowd_fleet_epoch", "Number of this server as the fleet's management node, counted over all there were; 0 while it is none.")
	centerFenced     = desc("ipallowd_fleet_fenced", "1 if this server must not be the fleet's management node: it publishes nothing and accepts no changes.")
	outboxRows       = desc("ipallowd_outbox_rows", "Changes that the bucket of keys does not have yet.")
	outboxOldest     = desc("ipallowd_outbox_oldest_seconds", "How long ago the oldest of these was made.")
	publishedTotal   = desc("ipallowd_published_total", "Values that were published.")
	removedTotal     = desc("ipallowd_unpublished_total", "Keys that were taken out of the bucket.")
	publishErrors    = desc("ipallowd_publish_errors_total", "Failures of publishing, each of which is tried again.")
	publishConflicts = desc("ipallowd_publish_conflicts_total", "Values that were not as they had been left.")
	reconciledTotal  = desc("ipallowd_reconciled_total", "Times that the whole bucket was compared with the database.")
	usageMessages    = desc("ipallowd_usage_messages_total", "Messages of gateways whose usage records are stored.")
	usageRecords     = desc("ipallowd_usage_records_total", "Usage records in them, those included that came again.")
	usageDamaged     = desc("ipallowd_usage_damaged_total", "Messages of gateways that could not be read.")
	usageWaiting     = desc("ipallowd_usage_waiting_messages", "Messages of gateways that are not stored yet.")
	nodesKnown       = prometheus.NewDesc("ipallowd_fleet_nodes", "Gateways by their state.", []string{"state"}, nil)
)

// Describe implements prometheus.Collector.
func (c CenterCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// collectTimeout bounds how long the outbox is counted.
const collectTimeout = 5 * time.Second

// Collect implements prometheus.Collector.
func (c CenterCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	v := c.Center.View(ctx)
	gauge, counter := emitters(ch)
	p, u := &v.Publisher, &v.Usage
	gauge(centerConnected, truth(v.Connected))
	gauge(centerInStep, truth(p.InStep))
	gauge(centerRevision, float64(p.Revision))
	gauge(centerLag, float64(v.MaxLag()))
	gauge(centerRivals, truth(v.Rival != ""))
	gauge(centerEpoch, float64(p.Epoch))
	gauge(centerFenced, truth(p.Fenced != ""))
	gauge(outboxRows, float64(p.Outbox))
	oldest := 0.0
	if !p.Oldest.IsZero() {
		oldest = max(0, time.Since(p.Oldest).Seconds())
	}
	gauge(outboxOldest, oldest)
	counter(publishedTotal, float64(p.Published))
	counter(removedTotal, float64(p.Removed))
	counter(publishErrors, float64(p.Failures))
	counter(publishConflicts, float64(p.Conflicts))
	counter(reconciledTotal, float64(p.Reconciled))
	counter(usageMessages, float64(u.Messages))
	counter(usageRecords, float64(u.Records))
	counter(usageDamaged, float64(u.Damaged))
	gauge(usageWaiting, float64(u.Waiting))
	states := map[State]float64{StateReady: 0, StateUnready: 0, StateSilent: 0}
	for i := range v.Nodes {
		if v.Nodes[i].Role == Gateway {
			states[v.Nodes[i].State(time.Now())]++
		}
	}
	for s, n := range states {
		ch <- prometheus.MustNewConstMetric(nodesKnown, prometheus.GaugeValue, n, string(s))
	}
}
