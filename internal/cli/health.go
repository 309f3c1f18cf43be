package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	apiv1 "labd/api/v1"
)

// health are the cells TEMP, LIFE USED, WEAR, SPARE, WRITTEN and POWER ON.
func health(h *apiv1.NVMeHealth) []string {
	if h == nil {
		return make([]string, 6)
	}
	wear := ""
	if h.WearPerDay != nil && h.DaysLeft != nil {
		wear = fmt.Sprintf("%.2f%%/d, %.0f d left", *h.WearPerDay, max(0, *h.DaysLeft))
	}
	return []string{
		strconv.Itoa(h.TemperatureCelsius) + "°C", strconv.Itoa(h.UsedPercent) + "%", wear, strconv.Itoa(h.SparePercent) + "%",
		fmt.Sprintf("%.1f TB", float64(h.BytesWritten)/1e12), strconv.Itoa(int(h.PowerOnSeconds/3600)) + " h",
	}
}

// timeline prints what happened in each slot, the newest last.
func (a *app) timeline(items []apiv1.NVMeItem) {
	const most = 10
	for _, item := range items {
		incidents := item.Incidents
		if len(incidents) == 0 {
			continue
		}
		a.printf("\nincidents in slot %s:\n", strings.TrimPrefix(item.ID, "nvme/"))
		if n := len(incidents) - most; n > 0 {
			a.printf("  %s earlier ones\n", strconv.Itoa(n))
			incidents = incidents[n:]
		}
		for _, i := range incidents {
			serial := i.Serial
			if serial == "" {
				serial = "-"
			}
			a.printf("  %s  %s  %s  %s\n", i.At.Local().Format(time.DateTime), serial, i.Kind, i.Text)
		}
	}
}
