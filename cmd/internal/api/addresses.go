package api

import (
	"net/http"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/canon"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// A useView is the addresses from which requests of one kind came.
type useView struct {
	Addresses      []seenAddress `json:"addresses"`
	AddressesTotal int           `json:"addresses_total"`
	RequestsTotal  int64         `json:"requests_total"`
}

// getAddresses says from where requests with a key came lately.
func (h *handler) getAddresses(w http.ResponseWriter, r *http.Request) error {
	id, err := plain(r, false)
	if err != nil {
		return err
	}
	seen, err := h.manager.Seen(r.Context(), id)
	if err != nil {
		return err
	}
	caller := canon.Addr(h.actor(r).Addr)
	view := func(list []manage.SeenAddress, n int, requests int64) useView {
		for i := range list {
			list[i].Caller = list[i].Addr == caller
		}
		return useView{seenAddresses(list), n, requests}
	}
	writeJSON(w, http.StatusOK, struct {
		Since   time.Time `json:"since"`
		Served  useView   `json:"served"`
		Blocked useView   `json:"blocked"`
	}{
		seen.Since.UTC(),
		view(seen.Served, seen.ServedTotal, seen.ServedRequests),
		view(seen.Blocked, seen.BlockedTotal, seen.BlockedRequests),
	})
	return nil
}
