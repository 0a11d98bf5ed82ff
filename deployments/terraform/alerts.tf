# Google's own view, beside Prefect's automations: these speak even where the Prefect server is down.

resource "google_monitoring_notification_channel" "email" {
  count = var.alerts_email == null ? 0 : 1

  display_name = "clearyear"
  type         = "email"
  labels       = { email_address = var.alerts_email }
}

resource "google_monitoring_alert_policy" "failed_execution" {
  count = var.alerts_email == null ? 0 : 1

  display_name          = "clearyear: a Cloud Run job's execution failed"
  combiner              = "OR"
  notification_channels = [google_monitoring_notification_channel.email[0].name]

  conditions {
    display_name = "a failed execution"

    condition_threshold {
      filter          = "resource.type = \"cloud_run_job\" AND metric.type = \"run.googleapis.com/job/completed_execution_count\" AND metric.labels.result = \"failed\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"

      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_DELTA"
      }
    }
  }

  documentation {
    content = "The container was lost, out of memory or out of time. The run is Crashed in Prefect; retry it, or run repair/on-demand-cloud-run: only what is not there is computed."
  }
}

resource "google_monitoring_alert_policy" "worker_error" {
  count = var.alerts_email == null || var.image == null ? 0 : 1

  display_name          = "clearyear: the worker reports an error"
  combiner              = "OR"
  notification_channels = [google_monitoring_notification_channel.email[0].name]

  conditions {
    display_name = "an error in the worker's log"

    condition_matched_log {
      filter = "resource.type=\"cloud_run_worker_pool\" AND resource.labels.worker_pool_name=\"${google_cloud_run_v2_worker_pool.worker[0].name}\" AND severity>=ERROR"
    }
  }

  alert_strategy {
    notification_rate_limit {
      period = "3600s"
    }
  }
}
