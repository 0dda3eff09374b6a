package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// usageSubjects are those on which gateways send their usage records.
const usageSubjects = "ipallow.usage."

// sentAgain has usage records arrive twice, as they do when an acknowledgement
// is lost for longer than NATS recognises messages; with messages between
// them that cannot be read.
func (w *world) sentAgain(t *testing.T) (healed time.Time, said string) {
	ctx := w.within(time.Minute)
	damaged := func() float64 {
		n, err := w.management.metric(ctx, "ipallowd_usage_damaged_total")
		require.NoError(t, err)
		return n
	}
	before := damaged()
	nc := w.js.Conn()
	heard, err := nc.SubscribeSync(usageSubjects + ">")
	require.NoError(t, err)
	var copies []*nats.Msg
	for len(copies) < shortOr(20, 500) {
		m, err := heard.NextMsgWithContext(ctx)
		require.NoError(t, err)
		copies = append(copies, m)
	}
	require.NoError(t, heard.Unsubscribe())
	broken := 0
	for i, m := range copies {
		// Without the header by which NATS would know it.
		_, err := w.js.Publish(ctx, m.Subject, m.Data)
		require.NoError(t, err)
		if i%5 == 4 {
			_, err = w.js.Publish(ctx, usageSubjects+"gateway-1", fmt.Appendf(nil, "garbage %d", i))
			require.NoError(t, err)
			broken++
		}
	}
	// The last message is a broken one: when it is counted, all have been read.
	require.NoError(t, poll(ctx, 50*time.Millisecond, "all copies to be read", func() error {
		if n := damaged() - before; n < float64(broken) {
			return fmt.Errorf("%v of %d broken messages are counted", n, broken)
		}
		return nil
	}))
	require.Less(t, damaged()-before, float64(broken)+1)
	ids, err := w.manager.records(context.Background())
	require.NoError(t, err)
	for id, n := range ids {
		require.Equal(t, 1, n, "request %s", id)
	}
	return time.Now(), fmt.Sprintf("%d messages, and %d that cannot be read", len(copies), broken)
}
