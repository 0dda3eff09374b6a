package fleet

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A stored message is one as the keys' stream has it.
type stored struct {
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"`
	Data []byte    `json:"data"`
	Head []byte    `json:"hdrs"`
}

// header returns the message's header, which is empty if there is none.
func (m *stored) header() nats.Header {
	if len(m.Head) == 0 {
		return nil
	}
	h, err := nats.DecodeHeadersMsg(m.Head)
	if err != nil {
		return nil
	}
	return h
}

// marker reports whether the message says that its name has no value.
func (m *stored) marker() bool {
	h := m.header()
	return h.Get(operationHeader) != "" || h.Get(jetstream.MarkerReasonHeader) != ""
}

const (
	operationHeader = "KV-Operation"
	operationDelete = "DEL"
)

// keysSubject is where the stream has a name of the keys' bucket.
func (c *Config) keysSubject(name string) string { return "$KV." + c.keysBucket() + "." + name }

// keysMessage returns the message of the keys' stream that the request
// describes, or jetstream.ErrMsgNotFound. It asks the stream's leader:
// jetstream.KeyValue.Get may be answered by a replica that lags behind.
func (l *Link) keysMessage(ctx context.Context, req map[string]any) (*stored, error) {
	data, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	msg, err := l.nc.RequestWithContext(ctx, jetstream.DefaultAPIPrefix+"STREAM.MSG.GET.KV_"+l.cfg.keysBucket(), data)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *stored             `json:"message"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return nil, err
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, jetstream.ErrMsgNotFound
	case answer.Error != nil:
		return nil, answer.Error
	case answer.Message == nil:
		return nil, jetstream.ErrInvalidJetStreamResponse
	}
	return answer.Message, nil
}
