#!/usr/bin/env bash
# Everything that docs/results/biq2021-leaderboard.md shows, from nothing; broken off, it goes on.
#   docs/results/biq2021-leaderboard/repeat.sh [SHARED [RUN_DIR]]
set -euo pipefail
here=$(dirname "$0") shared=${1:-../shared} out=${2:-runs/biq2021-leaderboard}
common=(--config "$here/benchmark.yaml" --dataset biq2021 --data-root "$shared/data" --threads 1
    --backbone-weights "$shared/weights/mobilenet_v2-features-torchvision.pth" --out "$out")
methods=("dbcnn:scnn=$shared/weights/scnn.pkl" nima nima:head=emd denoise sat at:eps_255=2,steps=2+sat cprl
    cprl:pns=false kwta:share=0.5 at:eps_255=2,steps=2+resnet trades:eps_255=2,steps=2+resnet
    nt:weight=0.0001+resnet noise_augmentation+resnet jpeg+resnet bitdepth+resnet blur+resnet
    median+resnet resize+resnet noise+resnet)
slow=(lwta smoothing:samples=5+resnet) # many passes for one score: one radius, no verdict

flags() { for spec in "$@"; do printf -- '--defense\n%s\n' "$spec"; done; }
mapfile -t every < <(flags "${methods[@]}")
mapfile -t few < <(flags "${slow[@]}")
iqabench run "${common[@]}" "${every[@]}"
iqabench audit --quick --images 50 "${common[@]}" "${every[@]}"
iqabench run "${common[@]}" "${few[@]}" --eps 1
iqabench run "${common[@]}" --defense at:eps_255=2,steps=2+sat --attack standard-v1 --eps 2
# the clean score of the undefended network on all 500 test images
iqabench run "${common[@]}" --defense resnet --attack fgsm --eps 1 --images 500 --out "$out-whole"
