package fleetconf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

// What follows attacks a fleet as Init makes it, with the key of a gateway that
// was taken over. Each attack was real where gateways share an account with the
// bucket: TestSharedAccount shows that it does there what it should.

const keysStream = "KV_ipallow_keys"

// An attacker has what a gateway has.
type attacker struct {
	t      *testing.T
	nc     *nats.Conn // for keys
	out    *nats.Conn // for records and reports
	denied atomic.Int64
}

// conns are its accounts.
func (a *attacker) conns() []*nats.Conn { return []*nats.Conn{a.nc, a.out} }

// of returns the connection on which a gateway sends to the subject.
func (a *attacker) of(subject string) *nats.Conn {
	if strings.HasPrefix(subject, "ipallow.usage.") || strings.HasPrefix(subject, "$KV.ipallow_nodes.") {
		return a.out
	}
	return a.nc
}

func (w *world) attacker(name string) *attacker {
	a := &attacker{t: w.t}
	count := nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) || strings.Contains(err.Error(), "ermissions Violation") {
			a.denied.Add(1)
		}
	})
	a.nc, a.out = w.conn(name, count), w.recordsConn(name, count)
	return a
}

// publish sends a message that names where the answer is to go.
func (a *attacker) publish(subject, reply string, header nats.Header, data string) {
	a.t.Helper()
	require.NoError(a.t, a.of(subject).PublishMsg(&nats.Msg{Subject: subject, Reply: reply, Header: header, Data: []byte(data)}))
}

// publishAll sends it from each account, and returns from how many.
func (a *attacker) publishAll(subject, data string) int {
	a.t.Helper()
	for _, nc := range a.conns() {
		require.NoError(a.t, nc.PublishMsg(&nats.Msg{Subject: subject, Reply: nc.NewInbox(), Data: []byte(data)}))
	}
	return len(a.conns())
}

// settle waits until the server has seen everything, and done it.
func (a *attacker) settle() {
	a.t.Helper()
	flush := func() {
		for _, nc := range a.conns() {
			require.NoError(a.t, nc.FlushTimeout(10*time.Second))
		}
	}
	flush()
	time.Sleep(300 * time.Millisecond) // what must not come has no other sign
	flush()
}

// targets are subjects that an attacker would have the server publish to.
func targets(victim string) []string {
	return []string{
		"$KV.ipallow_keys.victim-key", "$KV.ipallow_keys._confirm", "ipallow.usage." + victim, "$KV.ipallow_nodes.gateway." + victim,
		"$JS.API.STREAM.PURGE." + keysStream, "$JS.API.STREAM.DELETE." + keysStream, "$JS.API.STREAM.UPDATE." + keysStream, "$JS.API.STREAM.MSG.DELETE." + keysStream,
		"$JS.API.STREAM.PURGE.ipallow_usage", "$JS.API.STREAM.DELETE.ipallow_usage", "$JS.API.STREAM.CREATE.more", "$JS.API.STREAM.PURGE.KV_ipallow_nodes",
		"$JS.API.CONSUMER.CREATE." + keysStream + ".more", "$JS.API.CONSUMER.DELETE." + keysStream + "." + victim, "$JS.API.CONSUMER.PAUSE." + keysStream + "." + victim,
		"$JS.API.CONSUMER.RESET." + keysStream + "." + victim, "$JS.API.CONSUMER.DELETE.ipallow_usage.management", "$JS.ACK.ipallow_usage.management.1.1.1.1.0",
		"$JS.FC." + keysStream + "." + victim + ".x", "_INBOX.the-victims", "_R_.the-victims", "$SYS.REQ.SERVER.PING", "ipallow.api.STREAM.INFO." + keysStream,
	}
}

// payloads are bodies of requests, to get answers of each kind: values, errors,
// and messages with an empty body.
var payloads = []string{"", "{}", `{"seq":1}`, `{"last_by_subj":"$KV.ipallow_keys._confirm"}`, `{"subjects_filter":">"}`, `{"batch":5,"no_wait":true}`, `{"batch":5,"expires":1000000000}`, `{"batch":0}`, "not json"}

// allowed are the subjects to which a gateway may publish.
func (a *attacker) allowed(f *Fleet, name string) (subjects []string) {
	for _, s := range f.services(name) {
		subjects = append(subjects, s.local)
	}
	return subjects
}

// state is what must not change by an attack.
func (w *world) state() string {
	w.t.Helper()
	type consumer struct {
		Name    string
		Created time.Time
		Paused  bool
	}
	type stream struct {
		Name    string
		Config  jetstream.StreamConfig
		Created time.Time
		Last    uint64
		Msgs    uint64
		Cons    []consumer
	}
	var all []stream
	list := w.js.ListStreams(within(w.t))
	for info := range list.Info() {
		s := stream{Name: info.Config.Name, Config: info.Config, Created: info.Created}
		if s.Name == keysStream {
			s.Last, s.Msgs = info.State.LastSeq, info.State.Msgs
		}
		handle, err := w.js.Stream(within(w.t), s.Name)
		require.NoError(w.t, err)
		consumers := handle.ListConsumers(within(w.t))
		for c := range consumers.Info() {
			if c.Config.Durable != "" { // others come and go
				s.Cons = append(s.Cons, consumer{c.Name, c.Created, c.Paused})
			}
		}
		require.NoError(w.t, consumers.Err())
		slices.SortFunc(s.Cons, func(a, b consumer) int { return strings.Compare(a.Name, b.Name) })
		all = append(all, s)
	}
	require.NoError(w.t, list.Err())
	slices.SortFunc(all, func(a, b stream) int { return strings.Compare(a.Name, b.Name) })
	text, err := json.MarshalIndent(all, "", " ")
	require.NoError(w.t, err)
	return string(text)
}

// watch counts what anybody publishes in the account on subjects that nobody uses
// just now.
func (w *world) watch(victim string) *sync.Map {
	w.t.Helper()
	nc, seen := w.conn(""), new(sync.Map)
	for _, subject := range targets(victim) {
		if strings.HasPrefix(subject, "$KV.ipallow_nodes") {
			continue // the victim's own reports
		}
		_, err := nc.Subscribe(subject, func(m *nats.Msg) { seen.Store(m.Subject, string(m.Data)) })
		require.NoError(w.t, err)
	}
	require.NoError(w.t, nc.Flush())
	return seen
}

func none(t *testing.T, seen *sync.Map) {
	t.Helper()
	seen.Range(func(subject, data any) bool {
		require.Fail(t, "the server published for the attacker", "%s: %.200s", subject, data)
		return true
	})
}

// TestRights attacks a fleet with a gateway's key, and looks after each attack
// whether anything of the others has changed and whether they go on.
func TestRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "victim", "hostile")
	victim, hostile := w.gateway("victim"), w.gateway("hostile")
	hostile.stop() // its consumers are there; the key is the attacker's now
	key := victim.create()
	victim.send(records(1, 0, 3, "/before"))
	w.has("/before", 3)
	a := w.attacker("hostile")
	before := w.state()
	intact := func(t *testing.T) {
		t.Helper()
		require.Equal(t, before, w.state())
		require.NotNil(t, victim.ring.Get(key.Key.ID))
		require.NoError(t, victim.Ready(0))
	}
	attack := func(name string, run func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			a.t, w.t = t, t
			run(t)
			intact(t)
		})
		a.t, w.t = t, t
	}

	attack("its own consumer", func(t *testing.T) {
		// The consumer is there, and so is what it delivers: an inbox gets it, and
		// that is all that does.
		_, err := a.nc.Request("ipallow.api.CONSUMER.RESET."+keysStream+".hostile", []byte(`{"seq":1}`), 5*time.Second)
		require.NoError(t, err)
		inbox := a.nc.NewInbox()
		sub, err := a.nc.SubscribeSync(inbox)
		require.NoError(t, err)
		a.publish("ipallow.api.CONSUMER.MSG.NEXT."+keysStream+".hostile", inbox, nil, `{"batch":1,"expires":3000000000}`)
		m, err := sub.NextMsg(5 * time.Second)
		require.NoError(t, err)
		require.Contains(t, m.Subject, "$KV.ipallow_keys.", "the attacker does not reach the bucket: the test shows nothing")
	})
	attack("replies", func(t *testing.T) {
		seen := w.watch("victim")
		for _, subject := range a.allowed(w.fleet, "hostile") {
			for _, target := range targets("victim") {
				for _, data := range payloads {
					a.publish(subject, target, nil, data)
				}
			}
			a.settle()
		}
		none(t, seen)
	})
	attack("the whole API", func(t *testing.T) {
		seen := w.watch("victim")
		denied := a.denied.Load()
		sent := 0
		for _, api := range []string{"$JS.API.", "ipallow.api."} {
			for _, request := range []string{
				"INFO", "STREAM.NAMES", "STREAM.LIST", "STREAM.INFO.ipallow_usage", "STREAM.INFO.KV_ipallow_nodes", "STREAM.MSG.GET.ipallow_usage", "STREAM.MSG.GET.KV_ipallow_nodes",
				"DIRECT.GET.KV_ipallow_nodes", "DIRECT.GET." + keysStream, "STREAM.CREATE.trap", "STREAM.UPDATE." + keysStream, "STREAM.PURGE." + keysStream, "STREAM.DELETE." + keysStream,
				"STREAM.MSG.DELETE." + keysStream, "STREAM.SNAPSHOT." + keysStream, "STREAM.RESTORE.trap", "STREAM.LEADER.STEPDOWN." + keysStream,
				"CONSUMER.CREATE." + keysStream, "CONSUMER.CREATE." + keysStream + ".hostile", "CONSUMER.CREATE." + keysStream + ".trap.$KV.>", "CONSUMER.DURABLE.CREATE." + keysStream + ".trap",
				"CONSUMER.CREATE.ipallow_usage.trap", "CONSUMER.NAMES." + keysStream, "CONSUMER.LIST." + keysStream, "CONSUMER.INFO." + keysStream + ".victim", "CONSUMER.INFO." + keysStream + ".hostile", "STREAM.INFO." + keysStream, "STREAM.MSG.GET." + keysStream, "CONSUMER.DELETE." + keysStream + ".victim",
				"CONSUMER.DELETE." + keysStream + ".hostile", "CONSUMER.PAUSE." + keysStream + ".victim", "CONSUMER.RESET." + keysStream + ".victim", "CONSUMER.UNPIN." + keysStream + ".victim",
				"CONSUMER.MSG.NEXT." + keysStream + ".victim", "CONSUMER.MSG.NEXT.ipallow_usage.management", "CONSUMER.RESET.ipallow_usage.management", "ACCOUNT.PURGE.ipallow-management", "META.LEADER.STEPDOWN",
			} {
				for _, data := range []string{
					"", `{"name":"trap","subjects":["ipallow.usage.>"]}`, `{"name":"trap","mirror":{"name":"` + keysStream + `"}}`,
					`{"stream_name":"` + keysStream + `","config":{"name":"trap","deliver_subject":"$KV.ipallow_keys.x","ack_policy":"none","mem_storage":true}}`,
				} {
					sent += a.publishAll(api+request, data)
				}
			}
		}
		a.settle()
		require.EqualValues(t, sent, a.denied.Load()-denied, "each of them is refused, and said to be")
		none(t, seen)
	})
	attack("subjects of others", func(t *testing.T) {
		seen := w.watch("victim")
		denied := a.denied.Load()
		subjects, sent := append(targets("victim"), "$KV.ipallow_nodes.management.home", "ipallow.usage.other", "ipallow.usage.hostile.more", "$SYS.ACCOUNT.ipallow-management.x", "$SYS.REQ.USER.INFO", "$NRG.x"), 0
		for _, subject := range subjects {
			sent += a.publishAll(subject, "{}")
		}
		// What the one account may, the other may not.
		for _, s := range w.fleet.keyServices("hostile") {
			require.NoError(t, a.out.Publish(s.local, []byte("{}")))
			sent++
		}
		for _, s := range w.fleet.recordServices("hostile") {
			require.NoError(t, a.nc.Publish(s.local, []byte("{}")))
			sent++
		}
		a.settle()
		require.GreaterOrEqual(t, a.denied.Load()-denied, int64(sent-4))
		none(t, seen)
	})
	attack("reserved replies", func(t *testing.T) {
		// An acknowledgement that the server makes of an empty answer would take
		// another gateway's records out of the stream.
		seen := w.watch("victim")
		denied := a.denied.Load()
		for _, reply := range []string{"$JS.ACK.ipallow_usage.management.1.1.1.1.0", "_R_.abc.def", "$GR.x", "_GR_.abc.def.x"} {
			for _, s := range w.fleet.services("hostile") {
				a.publish(s.local, reply, nil, `{"batch":1,"no_wait":true}`)
			}
		}
		a.settle()
		require.NotZero(t, a.denied.Load()-denied)
		none(t, seen)
	})
	attack("listening", func(t *testing.T) {
		var heard sync.Map
		denied := a.denied.Load()
		subscribed := []string{
			">", "*", "*.>", "$KV.>", "$JS.>", "$JS.API.>", "$SYS.>", "_R_.>", "ipallow.>", "ipallow.usage.>", "ipallow.api.>", "$KV.ipallow_keys.>", "$KV.ipallow_nodes.>", "$NRG.>", "_GR_.>", "_INBOX.>", "_INBOX.*.*",
		}
		for _, subject := range subscribed {
			for _, nc := range a.conns() {
				sub, err := nc.Subscribe(subject, func(m *nats.Msg) { heard.Store(m.Subject, m.Sub.Subject) })
				require.NoError(t, err)
				defer sub.Unsubscribe()
			}
		}
		a.settle()
		require.EqualValues(t, 2*(len(subscribed)-2), a.denied.Load()-denied, "all but its own account's inboxes are refused")
		victim.send(records(2, 0, 3, "/heard"))
		w.has("/heard", 3)
		extra := victim.create()
		victim.revoke(extra.Key.ID)
		before = w.state() // the keys were changed by whom it belongs to
		a.settle()
		heard.Range(func(subject, by any) bool {
			require.Fail(t, "the attacker heard something", "%s by %s", subject, by)
			return true
		})
	})
	attack("headers", func(t *testing.T) {
		reports := func() (n int) {
			for _, node := range w.center.Registry.Nodes() {
				if node.Name == "victim" {
					n++
				}
			}
			return n
		}
		require.Equal(t, 1, reports())
		for _, header := range []nats.Header{
			{"Nats-Rollup": {"all"}}, {"Nats-Rollup": {"sub"}}, {"KV-Operation": {"PURGE"}, "Nats-Rollup": {"all"}}, {"Nats-TTL": {"1s"}},
			{"Nats-Schedule": {"@every 1s"}, "Nats-Schedule-Target": {"$KV.ipallow_keys.x"}}, {"Nats-Batch-Id": {"x"}, "Nats-Batch-Sequence": {"1"}}, {"Nats-Incr": {"1"}},
			{"Nats-Trace-Dest": {"$KV.ipallow_keys.x"}}, {"Nats-Trace-Dest": {"ipallow.usage.victim"}, "Nats-Trace-Only": {"true"}},
			{"Nats-Request-Info": {`{"acc":"ipallow-management","svc":"ipallow-management"}`}}, {"Nats-Stream-Source": {"x"}}, {"Nats-Expected-Last-Sequence": {"0"}},
		} {
			for _, subject := range a.allowed(w.fleet, "hostile") {
				a.publish(subject, a.of(subject).NewInbox(), header, "{}")
				a.publish(subject, "$KV.ipallow_keys.x", header, `{"seq":1}`)
			}
		}
		a.settle()
		kv, err := w.js.KeyValue(within(t), "ipallow_nodes")
		require.NoError(t, err)
		_, err = kv.Get(within(t), "gateway.victim")
		require.NoError(t, err, "the victim's report is gone")
		require.Equal(t, 1, reports())
	})
	attack("a report that looks like a heartbeat", func(t *testing.T) {
		// A watch of nats.go answers a stalled heartbeat by publishing to the subject
		// that it names, with the watcher's rights.
		for _, target := range []string{
			"$KV.ipallow_keys.=confirm", "$KV.ipallow_keys.=owner", "$KV.ipallow_keys.x",
			"$JS.API.STREAM.PURGE." + keysStream, "$JS.API.STREAM.DELETE." + keysStream, "$JS.API.CONSUMER.DELETE." + keysStream + ".victim",
		} {
			for _, header := range []nats.Header{
				{"Status": {"100"}, "Description": {"Idle"}, "Nats-Consumer-Stalled": {target}},
				{"Status": {"100"}, "Description": {"FlowControl Request"}, "Nats-Consumer-Stalled": {target}},
				{"Status": {"503"}}, {"Status": {"409"}, "Description": {"Consumer Deleted"}},
			} {
				// Each is awaited: the bucket keeps the last report alone.
				_, err := a.out.RequestMsg(&nats.Msg{Subject: "$KV.ipallow_nodes.gateway.hostile", Header: header}, 5*time.Second)
				require.NoError(t, err)
			}
		}
		// Its own report comes after them, so they were read.
		a.publish("$KV.ipallow_nodes.gateway.hostile", a.out.NewInbox(), nil, `{"name":"hostile","role":"gateway","instance":"after"}`)
		fleettest.Eventually(t, func() bool {
			for _, n := range w.center.Registry.Nodes() {
				if n.Instance == "after" {
					return true
				}
			}
			return false
		}, func() string { return "the attacker's own report" })
		require.Equal(t, before, w.state())
	})
	attack("a report for another", func(t *testing.T) {
		for _, name := range []string{"victim", "home", "nobody"} {
			for _, role := range []string{"gateway", "management"} {
				_, err := a.out.Request("$KV.ipallow_nodes.gateway.hostile", fmt.Appendf(nil, `{"name":%q,"role":%q,"instance":"forged","own_account":true}`, name, role), 5*time.Second)
				require.NoError(t, err)
			}
		}
		// Its own comes after them, so they were read.
		_, err := a.out.Request("$KV.ipallow_nodes.gateway.hostile", []byte(`{"name":"hostile","role":"gateway","instance":"last"}`), 5*time.Second)
		require.NoError(t, err)
		forged := false
		fleettest.Eventually(t, func() bool {
			last := false
			for _, n := range w.center.Registry.Nodes() {
				forged = forged || n.Instance == "forged"
				last = last || n.Instance == "last"
			}
			return last
		}, func() string { return "the attacker's own report" })
		require.False(t, forged)
	})
	attack("record IDs that come next", func(t *testing.T) {
		hostile.send(records(9, 0, 50, "/pre-sent"))
		w.has("/pre-sent", 50)
		victim.send(records(9, 0, 50, "/true"))
		w.has("/true", 50)
		victim.send(records(9, 0, 50, "/true")) // and still each once
		victim.send(records(9, 50, 1, "/last"))
		w.has("/last", 1)
		w.has("/true", 50)
	})
	attack("usage messages that look like word of the server", func(t *testing.T) {
		// The client library ends a pull by an empty message with a status.
		had, sent := w.drain.Status().Damaged, uint64(0)
		for _, status := range []string{"100", "400", "404", "408", "409", "412", "423", "503"} {
			for _, text := range []string{"Consumer Deleted", "Leadership Change", "Server Shutdown", "Batch Completed", "Exceeded MaxWaiting", "Idle Heartbeat"} {
				header := nats.Header{
					"Status": {status}, "Description": {text}, "Nats-Pending-Messages": {"128"}, "Nats-Pending-Bytes": {"1"},
					"Nats-Consumer-Stalled": {"$JS.API.STREAM.PURGE." + keysStream},
				}
				_, err := a.out.RequestMsg(&nats.Msg{Subject: "ipallow.usage.hostile", Header: header}, 5*time.Second)
				require.NoError(t, err)
				sent++
			}
		}
		victim.send(records(5, 0, 5, "/after-them"))
		w.has("/after-them", 5)
		fleettest.Eventually(t, func() bool { return w.drain.Status().Damaged == had+sent }, func() string { return fmt.Sprintf("%+v", w.drain.Status()) })
		require.NoError(t, w.drain.Status().Err)
	})
	attack("usage records that nobody can read", func(t *testing.T) {
		big := strings.Repeat("x", 256<<10)
		for i := range 300 {
			data := fmt.Sprint("no packet ", i, " ", big[:i%7*1000])
			a.publish("ipallow.usage.hostile", "", nil, data)
			a.publish("ipallow.usage.hostile", "", nil, string([]byte{2})+data) // of a later version
			a.publish("ipallow.usage.hostile", "", nil, string([]byte{3})+data)
		}
		a.settle()
		victim.send(records(3, 0, 5, "/among-them"))
		w.has("/among-them", 5)
		fleettest.Eventually(t, func() bool { return w.drain.Status().Damaged >= 300 }, func() string { return fmt.Sprintf("%+v", w.drain.Status()) })
		require.Contains(t, w.drain.Status().Last, "ipallow.usage.hostile")
		files, err := os.ReadDir(w.dir)
		require.NoError(t, err)
		require.LessOrEqual(t, len(files), 50)

		// Another node's are still put aside.
		victimNC := w.recordsConn("victim")
		require.NoError(t, victimNC.Publish("ipallow.usage.victim", []byte("no packet")))
		fleettest.Eventually(t, func() bool {
			list, err := filepath.Glob(filepath.Join(w.dir, "victim.*"))
			require.NoError(t, err)
			return len(list) == 1
		}, func() string { return "the victim's message is not put aside" })
	})
	attack("more messages than the stream holds of one node", func(t *testing.T) {
		for range 3000 {
			a.publish("ipallow.usage.hostile", "", nil, string([]byte{2})+"of a later version")
		}
		a.settle()
		stream, err := w.js.Stream(within(t), "ipallow_usage")
		require.NoError(t, err)
		require.LessOrEqual(t, stream.CachedInfo().State.Msgs, uint64(2100))
		victim.send(records(4, 0, 5, "/beside"))
		w.has("/beside", 5)
	})
	attack("connections without end", func(t *testing.T) {
		for _, option := range []func(string) (nats.Option, error){nats.NkeyOptionFromSeed, fleet.RecordsOption} {
			let := 0
			for range 2 * gatewayConnections {
				seed, err := option(w.key("hostile"))
				require.NoError(t, err)
				if nc, err := nats.Connect(w.fleet.URLs(), seed); err == nil {
					let++
					defer nc.Close()
				}
			}
			require.LessOrEqual(t, let, gatewayConnections)
		}
		w.conn("victim")
		w.recordsConn("victim")
	})
}

// TestManagementRights: the management's key removes no stream and sends no usage
// records, and all else of a fleet works with it, which the other tests show.
func TestManagementRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "gate")
	gate := w.gateway("gate")
	key := gate.create()
	var denied atomic.Int64
	nc := w.conn("", nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			denied.Add(1)
		}
	}))
	before := w.state()
	sent := int64(0)
	for _, subject := range []string{
		"STREAM.PURGE." + keysStream, "STREAM.DELETE." + keysStream, "STREAM.MSG.DELETE." + keysStream, "STREAM.SNAPSHOT." + keysStream, "STREAM.DELETE.ipallow_usage",
		"STREAM.PURGE.ipallow_usage", "STREAM.RESTORE.more", "ACCOUNT.PURGE.ipallow-management", "SERVER.REMOVE.x", "META.LEADER.STEPDOWN",
	} {
		require.NoError(t, nc.PublishRequest("$JS.API."+subject, nc.NewInbox(), []byte(`{"seq":1}`)))
		sent++
	}
	for _, subject := range []string{"ipallow.usage.gate", "$SYS.REQ.SERVER.PING"} {
		require.NoError(t, nc.Publish(subject, []byte("x")))
		sent++
	}
	fleettest.Eventually(t, func() bool { return denied.Load() == sent }, func() string { return fmt.Sprintf("%d of %d were refused", denied.Load(), sent) })
	require.Equal(t, before, w.state())
	gate.revoke(key.Key.ID)
}

// TestStrangers: without a key there is nothing, and no key is another's.
func TestStrangers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "gate")
	for _, opt := range [][]nats.Option{nil, {nats.UserInfo("ipallow-management", "x")}, {nats.Token("x")}} {
		_, err := nats.Connect(w.fleet.URLs(), opt...)
		require.ErrorIs(t, err, nats.ErrAuthorization)
	}
	for _, file := range []string{w.fleet.ManagementKey(), w.fleet.GatewayKey("gate"), filepath.Join(w.fleet.Dir, "fleet.json"), w.fleet.AccountConfig(), w.fleet.ServerConfig(1)} {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), file)
	}
	conf, err := os.ReadFile(w.fleet.AccountConfig())
	require.NoError(t, err)
	require.False(t, bytes.Contains(conf, []byte("\nSU")), "a seed is in the configuration")
}

// TestFloods: while a gateway asks as fast as it can, revocations reach the others.
func TestFloods(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "victim", "hostile")
	victim, hostile := w.gateway("victim"), w.gateway("hostile")
	hostile.stop()
	var keys []string
	for range 20 {
		keys = append(keys, victim.create().Key.ID)
	}
	quit := make(chan struct{})
	var floods sync.WaitGroup
	var sent atomic.Int64
	for i := range 4 {
		nc, services := w.conn("hostile"), w.fleet.keyServices("hostile")
		if i%2 == 1 {
			nc, services = w.recordsConn("hostile"), w.fleet.recordServices("hostile")
		}
		floods.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-quit:
					return
				case <-tick.C:
				}
				for range 8 {
					for _, s := range services {
						_ = nc.PublishMsg(&nats.Msg{Subject: s.local, Reply: nc.NewInbox(), Data: []byte(`{"seq":1}`)})
						sent.Add(1)
					}
				}
			}
		})
	}
	began := time.Now()
	var took []time.Duration
	for _, id := range keys {
		took = append(took, victim.revoke(id))
		time.Sleep(100 * time.Millisecond)
	}
	victim.send(records(1, 0, 5, "/under-flood"))
	rate := float64(sent.Load()) / time.Since(began).Seconds()
	close(quit)
	floods.Wait()
	w.has("/under-flood", 5)
	slices.Sort(took)
	t.Logf("%.0f requests a second: %d revocations reached the other gateway in %v at the median, %v at most", rate, len(took), took[len(took)/2], took[len(took)-1])
	require.Greater(t, rate, 1000.0, "this is no flood")
	require.Less(t, took[len(took)-1], 10*time.Second)
}
