package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	apiv1 "labd/api/v1"
)

// health are the cells TEMP, LIFE USED, WEAR and SPARE.
func health(h *apiv1.NVMeHealth) []string {
	if h == nil {
		return make([]string, 4)
	}
	if len(h.Doubts) > 0 {
		return []string{"doubtful", "", "", ""}
	}
	wear := ""
	if h.WearPerDay != nil && h.DaysLeft != nil {
		wear = fmt.Sprintf("%.2f%%/d, %.0f d left", *h.WearPerDay, max(0, *h.DaysLeft))
	}
	return []string{celsius(h.TemperatureCelsius, "°C"), strconv.Itoa(h.UsedPercent) + "%", wear, strconv.Itoa(h.SparePercent) + "%"}
}

// celsius writes a temperature with its unit; - where the drive does not say.
func celsius(degrees *int, unit string) string {
	if degrees == nil {
		return "-"
	}
	return strconv.Itoa(*degrees) + unit
}

// timeline prints what happened in each slot, the newest last.
func (a *app) timeline(items []apiv1.NVMeItem) {
	const most = 10
	for _, item := range items {
		incidents := item.Incidents
		if len(incidents) == 0 {
			continue
		}
		address := strings.TrimPrefix(item.ID, "nvme/")
		a.printf("\nincidents in slot %s:\n", address)
		if n := len(incidents) - most; n > 0 {
			a.printf("  %s earlier ones\n", strconv.Itoa(n))
			incidents = incidents[n:]
		}
		for _, i := range incidents {
			serial := i.Serial
			if serial == "" {
				serial = "-"
			}
			where := ""
			if i.Slot != "" && i.Slot != address {
				where = " in slot " + i.Slot
			}
			a.line("  "+i.At.Local().Format(time.DateTime)+"  ", serial+"  "+i.Kind+where+"  "+i.Text)
		}
	}
}
