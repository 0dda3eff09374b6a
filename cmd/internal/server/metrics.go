package server

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/diskspace"
	"github.com/ipallow/ipallow/cmd/internal/gateway"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/usagelog"
)

// metrics are what /metrics shows, in a registry of their own.
type metrics struct {
	registry *prometheus.Registry
	verdicts [ipallow.Unrestricted + 1]prometheus.Counter
	statuses [6]prometheus.Counter // by class; 0: no status
	duration prometheus.Histogram
	upstream [gateway.UpstreamFailures]prometheus.Counter // the first is nil
}

func newMetrics(engine *ipallow.Engine, ring *keyring.Ring, log *usagelog.Writer, disk *diskspace.Guard) *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	verdicts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ipallowd_verdicts_total", Help: "Authenticated requests by the allowlist's verdict.",
	}, []string{"verdict"})
	for v := range m.verdicts {
		m.verdicts[v] = verdicts.WithLabelValues(ipallow.Verdict(v).String())
	}
	statuses := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ipallowd_requests_total", Help: "Requests to the gateway by the class of their status; none for those cut off.",
	}, []string{"status"})
	for i, class := range []string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"} {
		m.statuses[i] = statuses.WithLabelValues(class)
	}
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ipallowd_upstream_failures_total", Help: "Requests that the upstream did not answer, or not to the end, by cause.",
	}, []string{"cause"})
	for f := gateway.UpstreamOK + 1; int(f) < len(m.upstream); f++ {
		m.upstream[f] = failures.WithLabelValues(f.String())
	}
	m.duration = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "ipallowd_request_duration_seconds", Help: "From a request's header to the end of its answer.",
		Buckets: []float64{1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	})
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	counter := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, f)
	}
	m.registry.MustRegister(verdicts, statuses, failures, m.duration,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		gauge("ipallowd_keys", "Active API keys.", func() float64 { return float64(ring.Len()) }),
		gauge("ipallowd_snapshot_keys", "Keys with an allowlist in the present snapshot.", func() float64 { return float64(engine.Snapshot().Len()) }),
		gauge("ipallowd_snapshot_revision", "Revision of the present snapshot.", func() float64 { return float64(engine.Snapshot().Revision()) }),
	)
	m.registry.MustRegister(
		gauge("ipallowd_disk_free_bytes", "Free bytes of the disk of the data directory.", func() float64 { free, _ := disk.Space(); return float64(free) }),
		gauge("ipallowd_disk_low", "1 while usage records are not stored, since the disk is nearly full.", func() float64 { return one(disk.Room(0) != nil) }),
		gauge("ipallowd_disk_full", "1 while changes of keys and lists cannot be stored, since the disk is full.", func() float64 { return one(disk.Full()) }),
	)
	if log == nil {
		return m
	}
	m.registry.MustRegister(
		counter("ipallowd_log_records_stored_total", "Usage records in the store.", func() float64 { return float64(log.Stats().Stored) }),
		gauge("ipallowd_log_records_spilled", "Usage records in a write-ahead file that the store does not have yet.", func() float64 { return float64(log.Stats().Spilled) }),
		gauge("ipallowd_log_records_pending", "Usage records that are not in the store yet.", func() float64 { return float64(log.Stats().Pending) }),
		counter("ipallowd_log_store_errors_total", "Failures of the store, each of which is tried again.", func() float64 { return float64(log.Stats().StoreErrors) }),
		counter("ipallowd_log_wal_errors_total", "Failures of the write-ahead file, each of which is tried again.", func() float64 { return float64(log.Stats().WALErrors) }),
		lostCollector{log},
	)
	return m
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// lostCollector counts lost records by their cause.
type lostCollector struct{ log *usagelog.Writer }

var lostDesc = prometheus.NewDesc("ipallowd_log_records_lost_total", "Usage records that could not be kept, by cause.", []string{"cause"}, nil)

func (c lostCollector) Describe(ch chan<- *prometheus.Desc) { ch <- lostDesc }

func (c lostCollector) Collect(ch chan<- prometheus.Metric) {
	for cause, n := range c.log.Stats().Lost.All() {
		ch <- prometheus.MustNewConstMetric(lostDesc, prometheus.CounterValue, float64(n), cause.String())
	}
}

// observe counts one request.
func (m *metrics) observe(e gateway.Event) {
	if e.Authenticated && int(e.Verdict) < len(m.verdicts) {
		m.verdicts[e.Verdict].Inc()
	}
	if class := e.Status / 100; class < len(m.statuses) {
		m.statuses[class].Inc()
	}
	if e.Upstream != gateway.UpstreamOK {
		m.upstream[e.Upstream].Inc()
	}
	m.duration.Observe(e.Duration.Seconds())
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// listenerCollector counts the connections of the listeners.
type listenerCollector []*boundListener

var (
	connectionsDesc = prometheus.NewDesc("ipallowd_connections", "Open connections, by listener.", []string{"listener"}, nil)
	boundDesc       = prometheus.NewDesc("ipallowd_connections_max", "Connections that a listener may have.", []string{"listener"}, nil)
	fullDesc        = prometheus.NewDesc("ipallowd_connections_full_total", "How often a listener had all connections that it may have, so that others waited.", []string{"listener"}, nil)
	faultsDesc      = prometheus.NewDesc("ipallowd_accept_errors_total", "Connections that could not be accepted, by listener.", []string{"listener"}, nil)
)

func (c listenerCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{connectionsDesc, boundDesc, fullDesc, faultsDesc} {
		ch <- d
	}
}

func (c listenerCollector) Collect(ch chan<- prometheus.Metric) {
	for _, l := range c {
		ch <- prometheus.MustNewConstMetric(connectionsDesc, prometheus.GaugeValue, float64(l.open.Load()), l.name)
		ch <- prometheus.MustNewConstMetric(boundDesc, prometheus.GaugeValue, float64(cap(l.slots)), l.name)
		ch <- prometheus.MustNewConstMetric(fullDesc, prometheus.CounterValue, float64(l.full.Load()), l.name)
		ch <- prometheus.MustNewConstMetric(faultsDesc, prometheus.CounterValue, float64(l.faults.Load()), l.name)
	}
}
