package cli

import (
	"strings"

	apiv1 "labd/api/v1"
)

// printPredictions prints what another kernel would make of each drive.
func (a *app) printPredictions(report apiv1.Envelope[apiv1.NVMeItem], _ bool) {
	header := []string{"PCI", "MODEL", "SERIAL", "NOW", "KERNEL", "OUTCOME", "CONFIDENCE", "REASON"}
	rows := make([][]string, 0, len(report.Items))
	outcomes := make([]apiv1.Outcome, 0, len(report.Items))
	for _, item := range report.Items {
		p := item.Prediction
		if p == nil {
			p = &apiv1.NVMePrediction{} // an older labd
		}
		outcomes = append(outcomes, p.Outcome)
		rows = append(rows, []string{strings.TrimPrefix(item.ID, "nvme/"), model(item), item.Serial, string(item.Rung), p.Kernel, string(p.Outcome), string(p.Confidence), p.Reason})
	}
	if len(rows) > 0 {
		a.tableRows(header, rows, func(r int) apiv1.Health { return outcomes[r].Health() })
	}
}

// predictionExit is the exit code of the worst outcome.
func predictionExit(items []apiv1.NVMeItem) error {
	var outcomes []apiv1.Finding
	for _, item := range items {
		if item.Prediction != nil {
			outcomes = append(outcomes, apiv1.Finding{Severity: apiv1.Severity(item.Prediction.Outcome.Health())})
		}
	}
	return checkExit(outcomes)
}
