# The worker as a Cloud Run worker pool: it has no address that anybody could call.

locals {
  # The same settings as deployments/cloud_run/worker.env, from that file.
  worker_env = {
    for line in split("\n", file("${path.module}/../cloud_run/worker.env")) :
    split("=", line)[0] => split("=", line)[1]
    if length(regexall("^[A-Z_]+=", line)) > 0
  }
}

resource "google_cloud_run_v2_worker_pool" "worker" {
  count = var.image == null ? 0 : 1

  name                = "clearyear-worker"
  location            = var.region
  deletion_protection = false

  scaling {
    manual_instance_count = 1
  }

  template {
    service_account = google_service_account.worker.email

    vpc_access {
      egress = "PRIVATE_RANGES_ONLY"

      network_interfaces {
        network    = var.network
        subnetwork = var.subnetwork
      }
    }

    containers {
      image   = var.image
      command = ["/usr/bin/tini", "--"]
      args    = ["prefect", "worker", "start", "--pool", "cloud-run", "--type", "cloud-run-v2"]

      resources {
        limits = {
          cpu    = "1"
          memory = "1Gi"
        }
      }

      env {
        name  = "PREFECT_API_URL"
        value = var.prefect_api_url
      }

      env {
        name = "PREFECT_API_AUTH_STRING"

        value_source {
          secret_key_ref {
            secret  = google_secret_manager_secret.auth.secret_id
            version = "latest"
          }
        }
      }

      dynamic "env" {
        for_each = local.worker_env

        content {
          name  = env.key
          value = env.value
        }
      }
    }
  }

  lifecycle {
    precondition {
      condition     = var.prefect_api_url != null
      error_message = "A worker needs prefect_api_url: the address of the Prefect server."
    }
  }

  depends_on = [google_secret_manager_secret_iam_member.read_the_password]
}
