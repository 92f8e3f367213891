# docker build -t purejax_simba .                              for CPUs
# docker build -t purejax_simba --build-arg EXTRAS=cuda .      for NVIDIA GPUs (run with --gpus all)
# docker run -v $PWD/results:/purejax_simba/results purejax_simba --task dmc/cheetah-run
ARG PYTHON=3.11
FROM python:${PYTHON}-slim
# Extras of pyproject.toml, with commas between: video, humanoid_bench, playground, envpool, ...
ARG EXTRAS=video
# To draw without a screen.
RUN apt-get update && apt-get install -y --no-install-recommends libegl1 libosmesa6 && rm -rf /var/lib/apt/lists/*
WORKDIR /purejax_simba
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY envs envs
COPY purejax_simba purejax_simba
COPY train.py sweep.py ./
RUN pip install --no-cache-dir -c requirements.lock -e ".[${EXTRAS}]"
ENV MUJOCO_GL=egl
ENTRYPOINT ["python", "train.py"]
