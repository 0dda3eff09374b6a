package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/natsfeed"
)

// TestFaults does to a fleet what happens to fleets. Requests are made all along,
// half of them from an address that is on no list. The short form takes about a
// minute; IPALLOW_FLEET_LONG=1 has the faults last as long as in earnest.
func TestFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fault("NATS leader killed", w.leaderKilled)
	w.fault("NATS cluster down", w.clusterDown)
	w.fault("gateway cut off", func(t *testing.T) (time.Time, string) { return w.cutOff(w.lines["gateway-2"].cut) })
	w.fault("gateway's line dead", func(t *testing.T) (time.Time, string) { return w.cutOff(w.lines["gateway-2"].freeze) })
	w.fault("management cut off", w.managementCutOff)
	w.fault("management killed", w.managementKilled)
	w.fault("slow consumer", w.slowConsumer)
	w.fault("outage beyond history", w.beyondHistory)
	w.fault("compaction in an outage", w.compaction)
	w.fault("poisoned values", w.poisoned)
	w.fault("clock skew", w.clockSkew)
	w.fault("usage records sent again", w.sentAgain)
	w.fault("gateway killed, WAL full", w.gatewayKilled)
	for _, line := range w.report {
		t.Log(line)
	}
	now := w.tally()
	t.Logf("%d requests: %v; %d without an answer; %d probes, %d refused by the allowlist, %d served", now.sent, now, now.failed, now.probes, now.refused, len(now.served))
	_, err := w.manager.allReady(w.within(20*time.Second), 4)
	require.NoError(t, err)
}

// The server that leads the keys' stream is killed while changes are made, and
// comes back.
func (w *world) leaderKilled(t *testing.T) (healed time.Time, said string) {
	var slowest, leaderless time.Duration
	rounds := shortOr(1, 10)
	for range rounds {
		stop := w.churn(50)
		n, err := w.leader(w.within(30 * time.Second))
		require.NoError(t, err)
		n.kill()
		killed := time.Now()
		require.NoError(t, poll(w.within(30*time.Second), 20*time.Millisecond, "another leader", func() error {
			now, err := w.leader(context.Background())
			if err == nil && now == n {
				err = errors.New("it is still the same")
			}
			return err
		}))
		// It may have led the cluster as well, which new consumers need.
		require.NoError(t, clusterReady(w.within(30*time.Second), w.js))
		healed = time.Now()
		leaderless = max(leaderless, healed.Sub(killed))
		stop()
		within, cancel := context.WithDeadline(context.Background(), healed.Add(healWithin))
		require.NoError(t, w.askAll(within))
		require.NoError(t, w.enforced(within, w.keys))
		cancel()
		slowest = max(slowest, time.Since(healed))
		require.NoError(t, n.start(w.within(30*time.Second)))
	}
	return time.Now(), fmt.Sprintf("%d killed; without a leader for %v at most, all in force %v after at most", rounds, round(leaderless), round(slowest))
}

// All NATS servers are killed while changes are made, and come back later.
func (w *world) clusterDown(t *testing.T) (healed time.Time, said string) {
	keys := w.sample(5)
	list := known(keys)
	for _, n := range w.nats {
		n.kill()
	}
	began := time.Now()
	w.mustChange(w.keys[:20])
	stop := w.churn(50)
	for _, g := range w.gateways {
		w.unready(g)
		w.stays(g, keys, list)
	}
	w.pause(time.Until(began.Add(shortOr(5*time.Second, 60*time.Second))))
	changed := stop()
	for _, g := range w.gateways {
		w.stays(g, keys, list)
	}
	down := time.Since(began)
	began = time.Now()
	require.NoError(t, w.startNATS(w.within(time.Minute)))
	_, err := w.leader(w.within(time.Minute))
	require.NoError(t, err)
	return time.Now(), fmt.Sprintf("down for %v, %d changes meanwhile; %v until there was a leader", round(down), changed+20, round(time.Since(began)))
}

// A gateway's line is cut, or goes dead, while changes are made.
func (w *world) cutOff(how func()) (healed time.Time, said string) {
	g := w.gateways[1]
	keys := w.sample(20)
	list := known(keys)
	how()
	began := time.Now()
	w.mustChange(keys)
	w.stays(g, keys, list)
	require.NoError(w.t, enforced(w.within(healWithin), w.caller, []*daemon{w.gateways[0], w.gateways[2]}, keys))
	w.unready(g)
	stop := w.churn(50)
	w.pause(shortOr(0, 30*time.Second))
	changed := stop()
	w.stays(g, keys, list)
	w.lines[g.name].heal()
	return time.Now(), fmt.Sprintf("off for %v, %d changes meanwhile", round(time.Since(began)), changed+len(keys))
}

// The management node cannot reach NATS: changes are acknowledged and wait.
func (w *world) managementCutOff(t *testing.T) (healed time.Time, said string) {
	w.lines["management"].cut()
	began := time.Now()
	w.mustChange(w.keys)
	w.pause(shortOr(0, 30*time.Second))
	w.lines["management"].heal()
	return time.Now(), fmt.Sprintf("off for %v, %d changes meanwhile", round(time.Since(began)), len(w.keys))
}

// The management node is killed in the middle of changes, again and again.
func (w *world) managementKilled(t *testing.T) (healed time.Time, said string) {
	rounds, changes := shortOr(3, 50), 0
	var slowest time.Duration
	for i := range rounds {
		n, took, err := w.killManagement(w.within(30*time.Second), time.Duration(100+37*i%200)*time.Millisecond)
		require.NoError(t, err)
		require.Less(t, took, healWithin)
		changes += n
		slowest = max(slowest, took)
	}
	return time.Now(), fmt.Sprintf("%d times, after %d changes; all in force %v after the new start at most", rounds, changes, round(slowest))
}

// A gateway's line is too slow for the changes that are made.
func (w *world) slowConsumer(t *testing.T) (healed time.Time, said string) {
	g := w.gateways[2]
	const rate = 10_000 // bytes a second
	w.lines[g.name].slow(rate)
	began := time.Now()
	changes, behind := 0, uint64(0)
	for time.Since(began) < shortOr(2*time.Second, 40*time.Second) {
		w.mustChange(w.keys)
		changes += len(w.keys)
	}
	require.NoError(t, enforced(w.within(healWithin), w.caller, w.gateways[:2], w.keys), "the others do not wait for it")
	newest, err := w.gateways[0].metric(w.within(10*time.Second), "ipallowd_feed_revision")
	require.NoError(t, err)
	here, err := g.metric(w.within(10*time.Second), "ipallowd_feed_revision")
	require.NoError(t, err)
	if newest > here {
		behind = uint64(newest - here)
	}
	w.lines[g.name].heal()
	return time.Now(), fmt.Sprintf("%d changes in %v at %d bytes a second; it was %d revisions behind", changes, round(time.Since(began)), rate, behind)
}

// While a gateway is cut off, everything that it knew is overwritten, keys are
// revoked, and new ones made. The bucket keeps one value a key.
func (w *world) beyondHistory(t *testing.T) (healed time.Time, said string) {
	g := w.gateways[0]
	w.lines[g.name].cut()
	rounds := shortOr(3, 5)
	for range rounds {
		w.mustChange(w.keys)
	}
	revoked := w.replaceKeys(w.within(time.Minute), 5)
	w.lines[g.name].heal()
	healed = time.Now()
	require.NoError(t, w.enforced(w.within(healWithin), revoked), "revoked keys are unknown")
	return healed, fmt.Sprintf("%d changes, %d keys revoked and as many made", rounds*len(w.keys), len(revoked))
}

// replaceKeys revokes keys and makes as many new ones.
func (w *world) replaceKeys(ctx context.Context, n int) (revoked []*key) {
	made, err := makeKeys(ctx, w.manager, n)
	require.NoError(w.t, err)
	w.keyMu.Lock()
	defer w.keyMu.Unlock()
	for i := range n {
		k := w.keys[len(w.keys)-1-i]
		require.NoError(w.t, k.revoke(ctx, w.manager))
		revoked = append(revoked, k)
		w.keys[len(w.keys)-1-i] = made[i]
	}
	return revoked
}

// While a gateway is cut off, keys are revoked, and an operator compacts the
// bucket so that the marks of it are gone; then Confirm says so, as
// docs/fleet.md has it.
func (w *world) compaction(t *testing.T) (healed time.Time, said string) {
	g := w.gateways[0]
	w.lines[g.name].cut()
	ctx := w.within(time.Minute)
	revoked := w.replaceKeys(ctx, 5)
	require.NoError(t, enforced(ctx, w.caller, w.gateways[1:], revoked))
	kv, err := w.js.KeyValue(ctx, keysBucket)
	require.NoError(t, err)
	require.NoError(t, kv.PurgeDeletes(ctx, jetstream.DeleteMarkersOlderThan(-1)))
	_, err = natsfeed.Confirm(ctx, kv)
	require.NoError(t, err)
	w.lines[g.name].heal()
	healed = time.Now()
	require.NoError(t, w.enforced(w.within(healWithin), revoked), "revoked keys are unknown")
	return healed, fmt.Sprintf("%d keys revoked, their marks purged", len(revoked))
}

// Values that cannot be read are written into the bucket.
func (w *world) poisoned(t *testing.T) (healed time.Time, said string) {
	ctx := w.within(30 * time.Second)
	kv, err := w.js.KeyValue(ctx, keysBucket)
	require.NoError(t, err)
	faults := func() (sum float64) {
		for _, g := range w.gateways {
			n, err := g.metric(ctx, "ipallowd_feed_faults_total")
			require.NoError(t, err)
			sum += n
		}
		return sum
	}
	before := faults()
	good, err := natsfeed.AppendValue(nil, natsfeed.Value{Meta: []byte("whatever")})
	require.NoError(t, err)
	torn := append([]byte(nil), good[:len(good)-1]...)
	poison := [][]byte{{}, []byte("garbage"), {natsfeed.Version}, append([]byte{99}, good[1:]...), torn, make([]byte, 100_000)}
	rounds := shortOr(1, 20)
	for range rounds {
		for i, value := range poison {
			k := w.keys[i]
			name, err := natsfeed.KeyName(k.id)
			require.NoError(t, err)
			_, err = kv.Put(ctx, name, value)
			require.NoError(t, err)
			for _, g := range w.gateways {
				w.stays(g, w.keys[i:i+1], known(w.keys[i:i+1]))
			}
		}
	}
	want := before + float64(len(w.gateways)*len(poison)*rounds)
	require.NoError(t, poll(w.within(10*time.Second), 50*time.Millisecond, "every gateway to count every poisoned value", func() error {
		if now := faults(); now < want {
			return fmt.Errorf("%v, and not %v", now, want)
		}
		return nil
	}))
	w.mustChange(w.sample(len(poison)))
	return time.Now(), fmt.Sprintf("%d of them; every one counted on every gateway", len(poison)*rounds)
}

// A gateway is killed while it holds usage records that it cannot send, starts
// without NATS, serves from its checkpoint, and then gets its line back.
func (w *world) gatewayKilled(t *testing.T) (healed time.Time, said string) {
	g := w.gateways[1]
	keys := w.sample(10)
	list := known(keys)
	w.lines[g.name].cut()
	w.pause(shortOr(settled+time.Second, 20*time.Second))
	held, err := g.metric(w.within(10*time.Second), "ipallowd_log_records_pending")
	require.NoError(t, err)
	require.Greater(t, held, 50.0, "records wait in its write-ahead log")
	w.killGateway(g)
	w.mustChange(w.keys)
	require.NoError(t, w.startGateway(w.within(30*time.Second), g))
	require.NoError(t, poll(w.within(20*time.Second), 50*time.Millisecond, "it serves from its checkpoint", func() error {
		status, err := w.caller.ping(context.Background(), g, keys[0].secret, list[0], false)
		if err == nil && status != 200 {
			err = fmt.Errorf("it answers %d", status)
		}
		return err
	}))
	w.stays(g, keys, list)
	w.lines[g.name].heal()
	return time.Now(), fmt.Sprintf("%.0f records waited; it started from its checkpoint", held)
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }
