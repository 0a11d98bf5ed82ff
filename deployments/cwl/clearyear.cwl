# clearyear as an OGC application package (OGC 20-089r1): one file, a Workflow to be called and the tools it is made of.
#
#   cwltool clearyear.cwl#composite --scenes /data/t31tcj --period 2023
#   cwltool clearyear.cwl#monthly --scenes /data/t31tcj --periods 2023-05 --periods 2023-06
#
# A step fails when its composite is not complete (exit code 3), so that a platform never takes half a result for a
# whole one. What comes out is a folder with a STAC catalogue in it, as platforms stage it out.
cwlVersion: v1.2

$namespaces:
  s: https://schema.org/
  calrissian: https://calrissian-cwl.github.io/schema#
s:softwareVersion: 0.1.0
s:license: Apache-2.0

$graph:
  - class: Workflow
    id: composite
    label: A clear composite of one period
    doc: One cloud-free picture of the scenes of one period, proven complete, with its STAC catalogue.
    inputs:
      scenes:
        type: Directory?
        label: Scenes
        doc: A folder of GeoTIFF scenes whose names hold their dates. Left out where the job file says where they are.
      job:
        type: File?
        label: Job file
        doc: A clearyear job (YAML), for all that has no input of its own, such as a STAC search. Inputs win over it.
      period:
        type: string?
        label: Period
        doc: 2023, 2023-06, 2023-06--P3M or start/end. Left out, the job file's.
      layers:
        type: string?
        label: Extra layers
        doc: Comma-separated, such as count,source.
      tile_size:
        type: int?
        label: Window size (px)
      runner:
        type: string
        default: threads
        label: Runner
        doc: threads, processes, or dask for the cluster that the platform provides.
    outputs:
      composites:
        type: Directory
        outputSource: run/composites
    steps:
      run:
        run: "#clearyear-run"
        in: {scenes: scenes, job: job, period: period, layers: layers, tile_size: tile_size, runner: runner}
        out: [composites]

  - class: Workflow
    id: monthly
    label: A clear composite of each of several periods
    doc: Each period is a step of its own, on a machine of its own where the platform has several; then one catalogue.
    requirements:
      ScatterFeatureRequirement: {}
    inputs:
      scenes:
        type: Directory?
        label: Scenes
        doc: A folder of GeoTIFF scenes whose names hold their dates. Left out where the job file says where they are.
      job:
        type: File?
        label: Job file
        doc: A clearyear job (YAML), for all that has no input of its own, such as a STAC search. Inputs win over it.
      periods:
        type: string[]
        label: Periods
        doc: Such as 2023-05 and 2023-06; seasons are 2023-06--P3M.
      layers:
        type: string?
        label: Extra layers
        doc: Comma-separated, such as count,source.
      tile_size:
        type: int?
        label: Window size (px)
      runner:
        type: string
        default: threads
        label: Runner
        doc: threads, processes, or dask for the cluster that the platform provides.
    outputs:
      composites:
        type: Directory
        outputSource: gather/composites
    steps:
      run:
        run: "#clearyear-run"
        scatter: period
        in: {scenes: scenes, job: job, period: periods, layers: layers, tile_size: tile_size, runner: runner}
        out: [composites]
      gather:
        run: "#clearyear-gather"
        in: {parts: run/composites}
        out: [composites]

  - class: CommandLineTool
    id: clearyear-run
    requirements:
      NetworkAccess:
        networkAccess: true
      EnvVarRequirement:
        envDef:
          # A container's own folders may be read-only, and two steps on one machine must not share Prefect's database.
          PREFECT_HOME: $(runtime.tmpdir)/prefect
          NUMBA_CACHE_DIR: $(runtime.tmpdir)/numba
          CLEARYEAR_CACHE: $(runtime.tmpdir)/indexes
    hints:
      DockerRequirement:
        dockerPull: clearyear:0.1.0
      ResourceRequirement:
        coresMin: 2
        ramMin: 4096
      # Calrissian with --dask-gateway-url starts this cluster beside the step, names it to the step and ends it
      # afterwards. Others pass over it. Used with runner: dask only.
      calrissian:DaskGatewayRequirement:
        workerCores: 1
        workerCoresLimit: 1
        workerMemory: 4G
        clusterMaxCores: 24
        clusterMaxMemory: 96G
    baseCommand: [clearyear, run]
    arguments: [--out, composites, --workers, $(runtime.cores)]
    inputs:
      job:
        type: File?
        inputBinding: {position: 1}
      scenes:
        type: Directory?
        inputBinding: {prefix: --scenes}
      period:
        type: string?
        inputBinding: {prefix: --period}
      layers:
        type: string?
        inputBinding: {prefix: --layers}
      tile_size:
        type: int?
        inputBinding: {prefix: --tile-size}
      runner:
        type: string
        default: threads
        inputBinding: {prefix: --runner}
    outputs:
      composites:
        type: Directory
        outputBinding: {glob: composites}

  - class: CommandLineTool
    id: clearyear-gather
    doc: Puts the steps' folders together and makes one catalogue of them.
    requirements:
      NetworkAccess:
        networkAccess: true
      EnvVarRequirement:
        envDef:
          # A container's own folders may be read-only, and two steps on one machine must not share Prefect's database.
          PREFECT_HOME: $(runtime.tmpdir)/prefect
          NUMBA_CACHE_DIR: $(runtime.tmpdir)/numba
          CLEARYEAR_CACHE: $(runtime.tmpdir)/indexes
    hints:
      DockerRequirement:
        dockerPull: clearyear:0.1.0
    baseCommand: [sh, -euc]
    arguments:
      - position: 0
        valueFrom: 'mkdir composites; for part; do cp -RL "$part/." composites; done; clearyear catalog composites'
      - position: 1
        valueFrom: gather
    inputs:
      parts:
        type: Directory[]
        inputBinding: {position: 2}
    outputs:
      composites:
        type: Directory
        outputBinding: {glob: composites}
