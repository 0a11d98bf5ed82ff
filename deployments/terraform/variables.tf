variable "project" {
  description = "The Google Cloud project."
  type        = string
}

variable "region" {
  description = "Where jobs run and results lie; best where the scenes lie."
  type        = string
  default     = "us-central1"
}

variable "results_bucket" {
  description = "Name of the bucket to make for results; worldwide."
  type        = string
}

variable "scenes_bucket" {
  description = "Name of a private bucket of scenes that runs may read. Null where scenes are public or lie in the results' bucket."
  type        = string
  default     = null
}

variable "deleted_after_days" {
  description = "Prefixes of the results' bucket and after how many days what lies there is deleted. Tiles are what `repair` needs: add <out>/<product>/<period>/tiles/ only for composites that are finished with."
  type        = map(number)
  default = {
    "prefect-results/" = 90
    "scratch/"         = 7
  }
}

variable "image" {
  description = "The clearyear image of the worker, by tag or digest. Null makes no worker: the image has to be pushed first."
  type        = string
  default     = null
}

variable "prefect_api_url" {
  description = "Where worker and jobs reach the Prefect server: http://10.…:4200/api or https://…/api."
  type        = string
  default     = null
}

variable "network" {
  description = "The VPC network in which the Prefect server is."
  type        = string
  default     = "default"
}

variable "subnetwork" {
  description = "The subnetwork in the region."
  type        = string
  default     = "default"
}

variable "alerts_email" {
  description = "Who is written to when a job's execution fails or the worker reports an error. Null makes no alerts."
  type        = string
  default     = null
}
