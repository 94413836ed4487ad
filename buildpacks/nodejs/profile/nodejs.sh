# shellcheck shell=bash
# Config vars win over every default, except that PATH is extended.
if [[ -d $HOME/.heroku/node/bin ]]; then
  export PATH="$HOME/.heroku/node/bin:$PATH" NODE_HOME="$HOME/.heroku/node"
fi
for folder in "$HOME"/.heroku/{npm,yarn,pnpm,bun}/bin; do
  if [[ -d $folder ]]; then export PATH="$folder:$PATH"; fi
done
unset folder
export PATH="$PATH:$HOME/bin:$HOME/node_modules/.bin"
export NODE_ENV="${NODE_ENV:-production}"
