package natsfeed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A check is the answer to the question how far the stream has come.
type check struct {
	info *jetstream.StreamInfo
	at   time.Time // when it was asked
	none bool      // the stream has nothing behind the sequence after
	err  error
}

// ask begins a check, unless one is under way.
func (f *Feed) ask(ctx context.Context, s *session) {
	if s.asked {
		return
	}
	after := uint64(0) // 0: do not ask what is behind it
	if s.audit.due() {
		// The feed has not reached what the last answer named. That is as it
		// should be while messages arrive.
		if time.Since(s.moved) < f.o.CheckInterval {
			return
		}
		after = f.position(s) + 1
	} else {
		s.audit.begin(f.position(s), s.names(f))
	}
	s.asked = true
	pos, last := f.position(s), uint64(0)
	if s.load == nil {
		last = f.last
	}
	go func() {
		c := check{at: time.Now()}
		rctx, cancel := context.WithTimeout(ctx, f.o.RequestTimeout)
		defer cancel()
		switch {
		case after > 0:
			c.none, c.err = f.none(rctx, after)
		case f.o.Consumer != "":
			c.info, c.err = f.look(rctx, pos, last)
		default:
			var stream jetstream.Stream
			if stream, c.err = f.js.Stream(rctx, "KV_"+f.bucket); c.err == nil {
				c.info = stream.CachedInfo()
			}
		}
		if c.err != nil && c.err != errStalled {
			c.err = f.requestFailed(ctx, fmt.Errorf("natsfeed: ask for the stream's state: %w", c.err))
		}
		s.checked <- c
	}()
}

// none reports whether the stream has nothing from a sequence on. The error is
// errStalled if it has.
func (f *Feed) none(ctx context.Context, seq uint64) (bool, error) {
	var err error
	if f.o.Consumer != "" {
		var info *jetstream.ConsumerInfo
		if info, err = f.reset(ctx, f.o.Consumer+checkSuffix, seq); err == nil && info.NumPending == 0 {
			err = jetstream.ErrMsgNotFound
		}
	} else {
		_, err = f.message(ctx, "KV_"+f.bucket, map[string]any{"seq": seq, "next_by_subj": ">"})
	}
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return true, nil
	case err == nil:
		return false, errStalled
	}
	return false, err
}

// position is the last sequence that is accounted for.
func (f *Feed) position(s *session) uint64 {
	if s.load != nil {
		return s.load.rev
	}
	return f.rev
}

func (s *session) names(f *Feed) *tracker {
	if s.load != nil {
		return s.load.names
	}
	return f.names
}

// vet refuses a stream whose configuration lets lists disappear.
func (f *Feed) vet(info *jetstream.StreamInfo) error {
	if !f.o.AllowExpiry && expires(info) {
		f.refuse(ErrExpires)
		return ErrExpires
	}
	return nil
}

// expires reports whether the stream's configuration lets values disappear.
func expires(info *jetstream.StreamInfo) bool {
	cfg := &info.Config
	return cfg.MaxAge > 0 || cfg.Discard == jetstream.DiscardOld && (cfg.MaxBytes > 0 || cfg.MaxMsgs > 0)
}

// plan decides whether the bucket is to be loaded whole, or can be followed
// from where the feed is.
func (f *Feed) plan(ctx context.Context, info *jetstream.StreamInfo) (whole bool, err error) {
	first := f.created.IsZero()
	trust := f.o.AcceptMissing || f.gone
	if info.State.Msgs == 0 && !trust && (first || f.names.stored()+f.names.missing() > 0) {
		return false, ErrEmpty
	}
	switch {
	case first, f.reload:
		return true, nil
	case !info.Created.Equal(f.created), info.State.LastSeq < f.rev:
		f.o.Logger.Warn("natsfeed: the bucket was re-created or rolled back", "bucket", f.bucket,
			"created", info.Created, "last", info.State.LastSeq, "applied", f.rev)
		return true, nil
	case info.State.FirstSeq > f.rev+1:
		f.o.Logger.Info("natsfeed: the bucket no longer has all that happened since; it is loaded", "bucket", f.bucket,
			"first", info.State.FirstSeq, "applied", f.rev)
		return true, nil
	case f.lastName == "":
		return false, nil
	}
	// A server that lost its last writes gives their numbers to others. The
	// last message that was seen is there, or a later one of its name.
	rctx, cancel := context.WithTimeout(ctx, f.o.RequestTimeout)
	defer cancel()
	var m stored
	if f.o.Consumer != "" {
		m, err = f.firstFrom(rctx, f.last) // another one has the number, or the first one behind it
	} else {
		m, err = f.message(rctx, info.Config.Name, map[string]any{"last_by_subj": subjectOf(info, f.lastName)})
	}
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound): // an audit will tell what else is missing
	case err != nil:
		return false, f.requestFailed(ctx, fmt.Errorf("natsfeed: compare the last message: %w", err))
	case m.Seq == f.last && m.Time.Equal(f.lastTime):
		return false, nil
	case m.Seq <= f.last:
		whole = true
	}
	if !whole {
		if whole, err = f.overtaken(ctx, info.Config.Name); err != nil {
			return false, f.requestFailed(ctx, fmt.Errorf("natsfeed: compare the last messages: %w", err))
		}
	}
	if whole {
		f.o.Logger.Warn("natsfeed: the bucket was rolled back", "bucket", f.bucket, "revision", f.last)
	}
	return whole, nil
}

// overtaken reports whether a message up to the last one that was seen was stored
// after it: the server lost its last messages, and gave their numbers to others that
// the feed would never ask for. It looks for the last message that is left up to
// there, which that is if any is, by halving: a few requests.
func (f *Feed) overtaken(ctx context.Context, stream string) (bool, error) {
	found, after := uint64(0), f.last+1 // nothing is left from the second to f.last
	for step := uint64(1); found+1 < after; step *= 2 {
		seq := (found + after) / 2
		if found == 0 {
			seq = after - min(step, after-1) // it is near the end, as a rule
		}
		rctx, cancel := context.WithTimeout(ctx, f.o.RequestTimeout)
		m, err := f.from(rctx, stream, seq)
		cancel()
		switch {
		case err != nil && !errors.Is(err, jetstream.ErrMsgNotFound):
			return false, err
		case err != nil || m.Seq > f.last:
			after = seq
		case m.Time.After(f.lastTime):
			return true, nil
		default:
			found = m.Seq
		}
	}
	return false, nil
}

// from returns the first message that the stream has from a sequence on.
func (f *Feed) from(ctx context.Context, stream string, seq uint64) (stored, error) {
	if f.o.Consumer != "" {
		return f.firstFrom(ctx, seq)
	}
	return f.message(ctx, stream, map[string]any{"seq": seq, "next_by_subj": ">"})
}

// subjectOf returns the subject of a name in the stream. That of a mirror is
// the origin's.
func subjectOf(info *jetstream.StreamInfo, name string) string {
	stream := info.Config.Name
	if m := info.Config.Mirror; m != nil {
		stream = m.Name
	}
	return "$KV." + strings.TrimPrefix(stream, "KV_") + "." + name
}

// stored is a message as the stream has it.
type stored struct {
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"`
}

// message returns the message that the request describes. It asks the stream's
// leader: jetstream.Stream.GetMsg may ask any replica, also one that lags
// behind.
func (f *Feed) message(ctx context.Context, stream string, req map[string]any) (m stored, err error) {
	data, err := json.Marshal(req)
	if err != nil {
		return m, err
	}
	msg, err := f.nc.RequestWithContext(ctx, apiPrefix(f.js)+"STREAM.MSG.GET."+stream, data)
	if err != nil {
		return m, err
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *stored             `json:"message"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return m, err
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return m, jetstream.ErrMsgNotFound
	case answer.Error != nil:
		return m, answer.Error
	case answer.Message == nil:
		return m, jetstream.ErrInvalidJetStreamResponse
	}
	return *answer.Message, nil
}

// apiPrefix is where js sends its requests.
func apiPrefix(js jetstream.JetStream) string {
	o := js.Options()
	switch {
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	case o.APIPrefix != "":
		return strings.TrimSuffix(o.APIPrefix, ".") + "."
	}
	return jetstream.DefaultAPIPrefix
}

// contact returns how old the answer may be: a leader that was cut off from the
// rest of its cluster still answers, until it notices, and so does a mirror that was cut off from
// its origin. It is negative if there was no contact.
func contact(info *jetstream.StreamInfo) time.Duration {
	age := time.Duration(0)
	if m := info.Mirror; m != nil {
		if m.Active < 0 {
			return -1
		}
		age = m.Active
	}
	if c := info.Cluster; c != nil && len(c.Replicas) > 0 {
		heard := make([]time.Duration, len(c.Replicas))
		for i, r := range c.Replicas {
			heard[i] = r.Active
		}
		slices.Sort(heard)
		// With itself, that many are a majority.
		age += max(heard[(len(heard)+1)/2-1], 0)
	}
	return age
}

// judge draws the conclusions from a check.
func (f *Feed) judge(s *session, c check) error {
	switch {
	case errors.Is(c.err, errStalled) && (s.moved.After(c.at) || len(s.in) > 0):
		return nil // they came while the answer was on its way
	case errors.Is(c.err, errStalled), errors.Is(c.err, jetstream.ErrStreamNotFound):
		return c.err
	case c.err != nil:
		f.note(c.err)
		return nil // heartbeats tell whether the consumer lives
	case c.none:
		s.audit.skip()
		if s.load != nil {
			s.load.rev = max(s.load.rev, s.audit.target)
		} else if s.audit.open {
			f.rev = max(f.rev, s.audit.target)
			f.moved()
		}
		return f.settle(s)
	}
	info := c.info
	if err := f.vet(info); err != nil {
		return err
	}
	created := f.created
	if s.load != nil {
		created = s.load.created
	}
	if !info.Created.Equal(created) || info.State.LastSeq < s.audit.from {
		return errOtherBucket
	}
	age := contact(info)
	if age < 0 {
		f.note(errContact)
		return nil
	}
	c.at = c.at.Add(-age)
	f.heard(info.State.LastSeq)
	s.moved = time.Now()
	s.audit.answer(info.State.LastSeq, int(info.State.NumSubjects), c.at)
	return f.settle(s)
}
