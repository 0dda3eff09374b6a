package fleet

import (
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
	feedFaults     = desc("ipallowd_feed_faults", "Keys whose last value cannot be used; they stay as they were.")
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
